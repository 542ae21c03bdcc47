"""Wrong in ways that only a longer history shows; searched for twice as long, so that chance has no say in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limpet.driver import Append, Delete, Judgement, Key, Page, Put, Record, Work, judge
from limpet_conformance.sections.sequences import Sequences
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


@caught_by(Sequences, effort=2.0)
class DeleteTakesTheChildren(SharedMemoryDriver):
    """Deleting an item removes its folder."""

    def write(self, net: Records) -> None:
        super().write(net)
        for key, record in net.items():
            if record is None:
                for child in [at for at in self.place.records if at.startswith(key + "!")]:
                    del self.place.records[child]


@caught_by(Sequences, effort=2.0)
class AFolderHidesItsItem(SharedMemoryDriver):
    """Where a folder is there is no file: an item disappears when a child is put."""

    def write(self, net: Records) -> None:
        super().write(net)
        for key, record in net.items():
            parent = key.rpartition("!")[0]
            if record is not None and parent in self.place.records:
                del self.place.records[parent]


@caught_by(Sequences, effort=2.0)
class ADeletedKeyStaysAbsent(SharedMemoryDriver):
    """A tombstone makes a later put under `PRESENT` or an etag fail, and a put if absent is not listed."""

    graves: set[Key]

    def write(self, net: Records) -> None:
        super().write(net)
        graves = self.__dict__.setdefault("graves", set())
        graves.update(key for key, record in net.items() if record is None)

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        graves = self.__dict__.setdefault("graves", set())
        return judge(work, now, {key: None if key in graves else record for key, record in records.items()})


@caught_by(Sequences, effort=2.0)
class BackwardsBetweenTwoBounds(SharedMemoryDriver):
    """Backwards and with both bounds, the bounds change places."""

    async def _list(
        self, base: Key, after: Key | None, before: Key | None, reverse: bool, limit: int, values: bool
    ) -> Page:
        if reverse and after is not None and before is not None and after > before:
            after, before = before, after
        return await super()._list(base, after, before, reverse, limit, values)


@caught_by(Sequences, effort=2.0)
class ClearTakesTheBase(SharedMemoryDriver):
    """Clearing below a key removes the key as well."""

    async def clear(self, base: Key) -> int:
        removed = await super().clear(base)
        if base:
            await self.apply([Delete(base)])
        return removed


@caught_by(Sequences, effort=2.0)
class SecondPutOfABatchLosesItsCondition(SharedMemoryDriver):
    """Only the first condition of a batch is looked at."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        def first(unit: Work) -> Work:
            if isinstance(unit, Append):
                return unit
            head, *rest = unit
            return [head, *(Put(w.key, w.value, None, w.ttl_ms, w.etag) if isinstance(w, Put) else w for w in rest)]

        return judge([first(unit) for unit in work], now, records)
