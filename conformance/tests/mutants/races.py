"""Wrong when several callers meet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from limpet import ConflictError
from limpet.driver import Append, If, Key, Outcome, Put, Range, Unit
from limpet.driver.kit import Record, evaluate, keys_to_read
from limpet_conformance.sections.races import Races
from toys.pickled import PickledDriver
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


class _ReadsBeforeItsLock(SharedMemoryDriver):
    """Reads, waits, and only then takes the lock and writes what it decided on old ground."""

    pauses = 1

    def stale(self, unit: Unit, key: Key, record: Record | None) -> bool:
        """Whether this driver still believes in what it read before the lock."""
        return True

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        old = {key: self.place.records.get(key) for key in keys_to_read(units)}
        for _ in range(self.pauses):
            await asyncio.sleep(0)
        async with self.place.lock:
            fresh = {key: self.place.records.get(key) for key in old}
            believed = {key: old[key] if self.stale(units[0], key, old[key]) else fresh[key] for key in old}
            evaluation = evaluate(units, self.now(), believed)
            self.write(evaluation.effects)
        return evaluation.outcomes


@caught_by(Races)
class ConditionOutsideTheTransaction(_ReadsBeforeItsLock):
    """Conditions are judged on what was read before the lock was taken."""


@caught_by(Races)
class AbsentKeysAreNotLocked(_ReadsBeforeItsLock):
    """Rows are locked and read again, but what was absent has no row: a delete that found nothing stays nothing."""

    def stale(self, unit: Unit, key: Key, record: Record | None) -> bool:
        return record is None


@caught_by(Races)
class AbsenceIsNotDecidedByAnInsert(_ReadsBeforeItsLock):
    """A put if absent looks first and then upserts."""

    def stale(self, unit: Unit, key: Key, record: Record | None) -> bool:
        if isinstance(unit, Append):
            return False
        return any(write.key == key and isinstance(write, Put) and write.cond is If.ABSENT for write in unit)


@caught_by(Races)
class ChecksAreNotLocked(_ReadsBeforeItsLock):
    """Snapshot isolation: written rows are validated at the end, rows that were only checked are not."""

    def stale(self, unit: Unit, key: Key, record: Record | None) -> bool:
        if isinstance(unit, Append):
            return False
        return any(write.key == key and type(write).__name__ == "Check" for write in unit)


@caught_by(Races)
class ChecksAreNotLockedForLong(ChecksAreNotLocked):
    """The same, where much time passes between reading and writing."""

    pauses = 12


@caught_by(Races)
class TornCommit(SharedMemoryDriver):
    """Items of a batch are written one after the other, and readers do not wait."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        async with self.place.lock:
            evaluation = evaluate(units, self.now(), dict(self.place.records))
            for key, record in evaluation.effects.items():
                self.write({key: record})
                await asyncio.sleep(0)
        return evaluation.outcomes


@caught_by(Races)
class ConflictCarriesWhatCameLater(SharedMemoryDriver):
    """The item in a conflict is read after the lock was given back."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        outcomes = await super()._commit(units)
        for outcome in outcomes:
            if isinstance(outcome, ConflictError):
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                now = self.now()
                records = {key: self.place.records.get(key) for key in outcome.keys}
                outcome.items = {key: r.item(key, now) if r else None for key, r in records.items()}
        return outcomes


@caught_by(Races)
class LockedForThreadsOnly(PickledDriver):
    """The lock does not reach other processes."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield


@caught_by(Races)
class AppendsWithoutTheLock(PickledDriver):
    """Only batches take the lock; appends go past it."""

    def _lock_for(self, units: Sequence[Unit]) -> bool:
        return not any(isinstance(unit, Append) for unit in units)

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        if self._lock_for(units):
            return await super()._commit(units)
        records = self.load()
        evaluation = evaluate(units, max((r.updated_at for r in records.values()), default=0), records)
        records.update({key: record for key, record in evaluation.effects.items() if record is not None})
        self.save(records)
        return evaluation.outcomes


@caught_by(Races)
class AppendsCheckTooEarly(SharedMemoryDriver):
    """What an append checks is read first and not locked: it may change before the append is done."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        unit = units[0]
        if not isinstance(unit, Append):
            return await super()._commit(units)
        checked = self.place.records.get(unit.check.key)
        await asyncio.sleep(0.01)
        async with self.place.lock:
            records = {key: self.place.records.get(key) for key in keys_to_read(units)} | {unit.check.key: checked}
            evaluation = evaluate(units, self.now(), records)
            self.write(evaluation.effects)
        return evaluation.outcomes


@caught_by(Races)
class TheTimeIsTakenBeforeTheLock(SharedMemoryDriver):
    """A write reads the clock, and then waits for those before it."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        now = self.now()
        async with self.place.lock:
            await asyncio.sleep(0.3 if len(units[0] if not isinstance(units[0], Append) else ()) > 100 else 0)
            evaluation = evaluate(units, now, {key: self.place.records.get(key) for key in keys_to_read(units)})
            self.write(evaluation.effects)
        return evaluation.outcomes


@caught_by(Races)
class AClearThatLosesARaceEnds(SharedMemoryDriver):
    """What was changed since it was listed stays, and a part that is not full is taken for the last."""

    async def _clear(self, base: Key) -> tuple[int, bool]:
        page = await self._list(Range(base, limit=1000, values=False))
        for _ in range(20):
            await asyncio.sleep(0)
        gone = [item.key for item in page.items if (now := self.place.records.get(item.key)) and now.etag == item.etag]
        for key in gone:
            del self.place.records[key]
        return len(gone), len(gone) == 1000
