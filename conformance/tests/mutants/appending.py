"""Wrong about appending."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from limpet import ConflictError, CorruptDataError, TooLargeError
from limpet.driver import Append, Check, Key, Outcome, Put, Unit, number
from limpet.driver.kit import Evaluation, Record, evaluate
from limpet_conformance.sections.appending import Appending
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


class _Appends(SharedMemoryDriver):
    """Gets one thing about appends wrong."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        return evaluation

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        if len(units) == 1 and isinstance(units[0], Append):
            return self.appended(units[0], evaluation, now, records)
        return evaluation


@caught_by(Appending)
class ARefusedAppendUsesUpANumber(_Appends):
    """The counter moves before the check is looked at, as a sequence of a database does."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        counter = records.get(unit.log)
        if isinstance(evaluation.outcomes[0], ConflictError) and counter is not None:
            evaluation.effects[unit.log] = counter._replace(value=str(int(str(counter.value)) + 1))
        return evaluation


@caught_by(Appending)
class TheCheckIsIgnored(_Appends):
    """Appends to a log whose head has changed."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        head = records.get(unit.check.key)
        if isinstance(evaluation.outcomes[0], ConflictError) and head is not None:
            return evaluate([replace(unit, check=Check(unit.check.key))], now, records)
        return evaluation


@caught_by(Appending)
class CountsFromOne(_Appends):
    """The first number is 1."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        if records.get(unit.log) is None and isinstance(evaluation.outcomes[0], int):
            put = Put(unit.log, "1")
            return evaluate([unit], now, {**records, unit.log: Record("1", put.etag, now)})
        return evaluation


@caught_by(Appending)
class TheCounterLosesItsExpiry(_Appends):
    """The counter is stored without the expiry that it had."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        counter = evaluation.effects.get(unit.log)
        if counter is not None:
            evaluation.effects[unit.log] = counter._replace(expires_at=None)
        return evaluation


@caught_by(Appending)
class TheCounterKeepsItsEtag(_Appends):
    """A counter that is only added to keeps its etag, so a cut does not see the append."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        counter, old = evaluation.effects.get(unit.log), records.get(unit.log)
        if counter is not None and old is not None:
            evaluation.effects[unit.log] = counter._replace(etag=old.etag)
        return evaluation


@caught_by(Appending)
class TheConflictNamesTheCounter(_Appends):
    """A refused append names the counter, so its caller takes it for a lost race and tries for ever."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        if isinstance(evaluation.outcomes[0], ConflictError):
            evaluation.outcomes[0] = ConflictError(keys=(unit.log,))
        return evaluation


@caught_by(Appending)
class ACorruptCounterBeginsAnew(_Appends):
    """A counter that is no number counts as none."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        if isinstance(evaluation.outcomes[0], CorruptDataError):
            return evaluate([unit], now, {**records, unit.log: None})
        return evaluation


@caught_by(Appending)
class EntriesShareAnEtag(_Appends):
    """Entries that are appended together get the etag of the first."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        for at, record in evaluation.effects.items():
            if record is not None and at != unit.log:
                evaluation.effects[at] = record._replace(etag=unit.puts[0].etag)
        return evaluation


@caught_by(Appending)
class TheLastIsVisibleFirst(SharedMemoryDriver):
    """Entries are written from the last to the first, and readers do not wait."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        if not any(isinstance(unit, Append) for unit in units):
            return await super()._commit(units)
        async with self.place.lock:
            evaluation = evaluate(units, self.now(), dict(self.place.records))
            for key, record in sorted(evaluation.effects.items(), reverse=True):
                self.write({key: record})
                await asyncio.sleep(0)
        return evaluation.outcomes


@caught_by(Appending)
class ReadsTheCounterBeforeItsLock(SharedMemoryDriver):
    """Two appends at once are given the same number."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        if not any(isinstance(unit, Append) for unit in units):
            return await super()._commit(units)
        old = dict(self.place.records)
        await asyncio.sleep(0)
        evaluation = evaluate(units, self.now(), old)
        self.write(evaluation.effects)
        return evaluation.outcomes


@caught_by(Appending)
class DeclaredAndNotNative(SharedMemoryDriver):
    """Declares `append` and compares and sets all the same."""

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        declared = self.capabilities
        self.capabilities = replace(declared, append=False)
        try:
            return await super().commit(units)
        finally:
            self.capabilities = declared


@caught_by(Appending)
class NativeAndNotDeclared(SharedMemoryDriver):
    """Does not declare `append`, and gives the backend the numbering."""

    capabilities = replace(SharedMemoryDriver.capabilities, append=False)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        declared = self.capabilities
        self.capabilities = replace(declared, append=True)
        try:
            return await super().commit(units)
        finally:
            self.capabilities = declared


@caught_by(Appending)
class EntriesWithoutZeros(_Appends):
    """Numbers in keys are not filled up, so 10 sorts before 9."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        first = evaluation.outcomes[0]
        if isinstance(first, int):
            for at, put in enumerate(unit.puts, first):
                record = evaluation.effects.pop(f"{put.key}!{number(at)}", None)
                evaluation.effects[f"{put.key}!{at}"] = record
        return evaluation


@caught_by(Appending)
class AFullLogGoesOn(_Appends):
    """Numbers that no key can hold are given out."""

    def appended(self, unit: Append, evaluation: Evaluation, now: int, records: Records) -> Evaluation:
        counter = records.get(unit.log)
        if isinstance(evaluation.outcomes[0], TooLargeError) and counter is not None:
            evaluation.outcomes[0] = int(str(counter.value))
        return evaluation


@caught_by(Appending)
class AppendsNothing(SharedMemoryDriver):
    """Appending nothing answers a number that the next append gets too."""

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        if len(units) == 1 and isinstance(units[0], Append) and not units[0].puts:
            return [0]
        return await super().commit(units)
