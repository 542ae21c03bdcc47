"""Wrong in what structures lean on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from limpet.driver import Append, Check, Delete, If, Judgement, Key, Page, Put, Record, Verdict, Work, judge, needed
from limpet_conformance.sections.structures import Structures
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


@caught_by(Structures)
class TiesWrongInReverse(SharedMemoryDriver):
    """Backwards, keys that differ in their last segment only come forwards."""

    async def _list(
        self, base: Key, after: Key | None, before: Key | None, reverse: bool, limit: int, values: bool
    ) -> Page:
        page = await super()._list(base, after, before, reverse, limit, values)
        if not reverse:
            return page
        groups: dict[Key, list[int]] = {}
        for place, item in enumerate(page.items):
            groups.setdefault(item.key.rpartition("!")[0], []).append(place)
        items = [page.items[place] for places in groups.values() for place in reversed(places)]
        return Page(items, page.next)


@caught_by(Structures)
class ChecksAlwaysHold(SharedMemoryDriver):
    """A check of an item that is there passes under any etag: fences keep nobody out."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        def loose(unit: Work) -> Work:
            if isinstance(unit, Append):
                return unit
            return [Check(write.key) if isinstance(write, Check) else write for write in unit]

        return judge([loose(unit) for unit in work], now, records)


@caught_by(Structures)
class LeasesByTheClientsClock(SharedMemoryDriver):
    """Expiry by the caller's clock: a lease is born expired, or lives ten minutes longer."""

    def now(self) -> int:
        return int(time.time() * 1000)


@caught_by(Structures)
class UpdatesAreLost(SharedMemoryDriver):
    """Conditions are judged before the lock."""

    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        old = {key: self.place.records.get(key) for key in needed(work)}
        await asyncio.sleep(0)
        judgement = judge(work, self.now(), old)
        self.write(judgement.net)
        return judgement.verdicts


@caught_by(Structures)
class AbsenceIsNotAsked(SharedMemoryDriver):
    """A put if absent replaces what is there."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        def loose(unit: Work) -> Work:
            if isinstance(unit, Append):
                return unit
            return [
                Put(w.key, w.value, None, w.ttl_ms, w.etag) if isinstance(w, Put) and w.cond is If.ABSENT else w
                for w in unit
            ]

        return judge([loose(unit) for unit in work], now, records)


@caught_by(Structures)
class SecondDeletesAreLost(SharedMemoryDriver):
    """Of several deletes in a batch the first is done: index entries stay behind."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for unit in work:
            if not isinstance(unit, Append):
                for later in [write for write in unit if isinstance(write, Delete)][1:]:
                    judgement.net.pop(later.key, None)
        return judgement


@caught_by(Structures)
class AppendsLeaveTheCountersEtag(SharedMemoryDriver):
    """An append keeps the counter's etag, so a cut that began before it does not see it."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for unit in work:
            if isinstance(unit, Append):
                counter, old = judgement.net.get(unit.log), records.get(unit.log)
                if counter is not None and old is not None:
                    judgement.net[unit.log] = counter._replace(etag=old.etag)
        return judgement
