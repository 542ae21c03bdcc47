"""Wrong in ways that only a longer history shows; searched for twice as long, so that chance has no say in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from limpet.driver import Append, Delete, Key, Page, Put, Range, Unit
from limpet.driver.kit import Evaluation, Record, evaluate
from limpet_conformance.sections.sequences import Sequences
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


@caught_by(Sequences, effort=2.0)
class DeleteTakesTheChildren(SharedMemoryDriver):
    """Deleting an item removes its folder."""

    def write(self, effects: Records) -> None:
        super().write(effects)
        for key, record in effects.items():
            if record is None:
                for child in [at for at in self.place.records if at.startswith(key + "!")]:
                    del self.place.records[child]


@caught_by(Sequences, effort=2.0)
class AFolderHidesItsItem(SharedMemoryDriver):
    """Where a folder is there is no file: an item disappears when a child is put."""

    def write(self, effects: Records) -> None:
        super().write(effects)
        for key, record in effects.items():
            parent = key.rpartition("!")[0]
            if record is not None and parent in self.place.records:
                del self.place.records[parent]


@caught_by(Sequences, effort=2.0)
class ADeletedKeyStaysAbsent(SharedMemoryDriver):
    """A tombstone makes a later put under `PRESENT` or an etag fail, and a put if absent is not listed."""

    graves: set[Key]

    def write(self, effects: Records) -> None:
        super().write(effects)
        graves = self.__dict__.setdefault("graves", set())
        graves.update(key for key, record in effects.items() if record is None)

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        graves = self.__dict__.setdefault("graves", set())
        return evaluate(units, now, {key: None if key in graves else record for key, record in records.items()})


@caught_by(Sequences, effort=2.0)
class BackwardsBetweenTwoBounds(SharedMemoryDriver):
    """Backwards and with both bounds, the bounds change places."""

    async def _list(self, range: Range) -> Page:
        if range.reverse and range.after is not None and range.before is not None and range.after > range.before:
            range = replace(range, after=range.before, before=range.after)
        return await super()._list(range)


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

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def first(unit: Unit) -> Unit:
            if isinstance(unit, Append):
                return unit
            head, *rest = unit
            return [head, *(Put(w.key, w.value, None, w.ttl_ms, w.etag) if isinstance(w, Put) else w for w in rest)]

        return evaluate([first(unit) for unit in units], now, records)
