"""Wrong in what structures lean on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from limpet.driver import Append, Check, Delete, If, Key, Outcome, Page, Put, Range, Unit
from limpet.driver.kit import Evaluation, Record, evaluate, keys_to_read
from limpet_conformance.sections.structures import Structures
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


@caught_by(Structures)
class TiesWrongInReverse(SharedMemoryDriver):
    """Backwards, keys that differ in their last segment only come forwards."""

    async def _list(self, range: Range) -> Page:
        page = await super()._list(range)
        if not range.reverse:
            return page
        groups: dict[Key, list[int]] = {}
        for place, item in enumerate(page.items):
            groups.setdefault(item.key.rpartition("!")[0], []).append(place)
        items = [page.items[place] for places in groups.values() for place in reversed(places)]
        return Page(items, page.next)


@caught_by(Structures)
class ChecksAlwaysHold(SharedMemoryDriver):
    """A check of an item that is there passes under any etag: fences keep nobody out."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def loose(unit: Unit) -> Unit:
            if isinstance(unit, Append):
                return unit
            return [Check(write.key) if isinstance(write, Check) else write for write in unit]

        return evaluate([loose(unit) for unit in units], now, records)


@caught_by(Structures)
class LeasesByTheClientsClock(SharedMemoryDriver):
    """Expiry by the caller's clock: a lease is born expired, or lives ten minutes longer."""

    def now(self) -> int:
        return int(time.time() * 1000)


@caught_by(Structures)
class UpdatesAreLost(SharedMemoryDriver):
    """Conditions are judged before the lock."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        old = {key: self.place.records.get(key) for key in keys_to_read(units)}
        await asyncio.sleep(0)
        evaluation = evaluate(units, self.now(), old)
        self.write(evaluation.effects)
        return evaluation.outcomes


@caught_by(Structures)
class AbsenceIsNotAsked(SharedMemoryDriver):
    """A put if absent replaces what is there."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def loose(unit: Unit) -> Unit:
            if isinstance(unit, Append):
                return unit
            return [
                Put(w.key, w.value, None, w.ttl_ms, w.etag) if isinstance(w, Put) and w.cond is If.ABSENT else w
                for w in unit
            ]

        return evaluate([loose(unit) for unit in units], now, records)


@caught_by(Structures)
class SecondDeletesAreLost(SharedMemoryDriver):
    """Of several deletes in a batch the first is done: index entries stay behind."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for unit in units:
            if not isinstance(unit, Append):
                for later in [write for write in unit if isinstance(write, Delete)][1:]:
                    evaluation.effects.pop(later.key, None)
        return evaluation


@caught_by(Structures)
class AppendsLeaveTheCountersEtag(SharedMemoryDriver):
    """An append keeps the counter's etag, so a cut that began before it does not see it."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for unit in units:
            if isinstance(unit, Append):
                counter, old = evaluation.effects.get(unit.log), records.get(unit.log)
                if counter is not None and old is not None:
                    evaluation.effects[unit.log] = counter._replace(etag=old.etag)
        return evaluation
