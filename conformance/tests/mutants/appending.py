"""Wrong about appending."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from limpet import ConflictError, CorruptDataError, TooLargeError
from limpet.driver import (
    Append,
    Check,
    Driver,
    Judgement,
    Key,
    Put,
    Record,
    Verdict,
    Work,
    judge,
    number,
)
from limpet_conformance.sections.appending import Appending
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


class _Appends(SharedMemoryDriver):
    """Gets one thing about appends wrong."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        return judgement

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        if len(work) == 1 and isinstance(work[0], Append):
            return self.appended(work[0], judgement, now, records)
        return judgement


@caught_by(Appending)
class ARefusedAppendUsesUpANumber(_Appends):
    """The counter moves before the check is looked at, as a sequence of a database does."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        counter = records.get(unit.log)
        if isinstance(judgement.verdicts[0], ConflictError) and counter is not None:
            judgement.net[unit.log] = counter._replace(value=str(int(str(counter.value)) + 1))
        return judgement


@caught_by(Appending)
class TheCheckIsIgnored(_Appends):
    """Appends to a log whose head has changed."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        head = records.get(unit.check.key)
        if isinstance(judgement.verdicts[0], ConflictError) and head is not None:
            return judge([replace(unit, check=Check(unit.check.key))], now, records)
        return judgement


@caught_by(Appending)
class CountsFromOne(_Appends):
    """The first number is 1."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        if records.get(unit.log) is None and isinstance(judgement.verdicts[0], int):
            put = Put(unit.log, "1")
            return judge([unit], now, {**records, unit.log: Record("1", put.etag, now)})
        return judgement


@caught_by(Appending)
class TheCounterLosesItsExpiry(_Appends):
    """The counter is stored without the expiry that it had."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        counter = judgement.net.get(unit.log)
        if counter is not None:
            judgement.net[unit.log] = counter._replace(expires_at=None)
        return judgement


@caught_by(Appending)
class TheCounterKeepsItsEtag(_Appends):
    """A counter that is only added to keeps its etag, so a cut does not see the append."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        counter, old = judgement.net.get(unit.log), records.get(unit.log)
        if counter is not None and old is not None:
            judgement.net[unit.log] = counter._replace(etag=old.etag)
        return judgement


@caught_by(Appending)
class TheConflictNamesTheCounter(_Appends):
    """A refused append names the counter, so its caller takes it for a lost race and tries for ever."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        if isinstance(judgement.verdicts[0], ConflictError):
            judgement.verdicts[0] = ConflictError(keys=(unit.log,))
        return judgement


@caught_by(Appending)
class ACorruptCounterBeginsAnew(_Appends):
    """A counter that is no number counts as none."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        if isinstance(judgement.verdicts[0], CorruptDataError):
            return judge([unit], now, {**records, unit.log: None})
        return judgement


@caught_by(Appending)
class EntriesShareAnEtag(_Appends):
    """Entries that are appended together get the etag of the first."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        for at, record in judgement.net.items():
            if record is not None and at != unit.log:
                judgement.net[at] = record._replace(etag=unit.puts[0].etag)
        return judgement


@caught_by(Appending)
class TheLastIsVisibleFirst(SharedMemoryDriver):
    """Entries are written from the last to the first, and readers do not wait."""

    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        if not any(isinstance(unit, Append) for unit in work):
            return await super()._commit(work)
        async with self.place.lock:
            judgement = judge(work, self.now(), dict(self.place.records))
            for key, record in sorted(judgement.net.items(), reverse=True):
                self.write({key: record})
                await asyncio.sleep(0)
        return judgement.verdicts


@caught_by(Appending)
class ReadsTheCounterBeforeItsLock(SharedMemoryDriver):
    """Two appends at once are given the same number."""

    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        if not any(isinstance(unit, Append) for unit in work):
            return await super()._commit(work)
        old = dict(self.place.records)
        await asyncio.sleep(0)
        judgement = judge(work, self.now(), old)
        self.write(judgement.net)
        return judgement.verdicts


@caught_by(Appending)
class DeclaredAndNotNative(SharedMemoryDriver):
    """Declares `append` and compares and sets all the same."""

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        declared = self.capabilities
        self.capabilities = replace(declared, append=False)
        try:
            return await super().apply_many(work)
        finally:
            self.capabilities = declared

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        return await Driver.append(self, log, puts, check)


@caught_by(Appending)
class NativeAndNotDeclared(SharedMemoryDriver):
    """Does not declare `append`, and gives the backend the numbering."""

    capabilities = replace(SharedMemoryDriver.capabilities, append=False)

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        declared = self.capabilities
        self.capabilities = replace(declared, append=True)
        try:
            return await super().apply_many(work)
        finally:
            self.capabilities = declared


@caught_by(Appending)
class EntriesWithoutZeros(_Appends):
    """Numbers in keys are not filled up, so 10 sorts before 9."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        first = judgement.verdicts[0]
        if isinstance(first, int):
            for at, put in enumerate(unit.puts, first):
                record = judgement.net.pop(f"{put.key}!{number(at)}", None)
                judgement.net[f"{put.key}!{at}"] = record
        return judgement


@caught_by(Appending)
class AFullLogGoesOn(_Appends):
    """Numbers that no key can hold are given out."""

    def appended(self, unit: Append, judgement: Judgement, now: int, records: Records) -> Judgement:
        counter = records.get(unit.log)
        if isinstance(judgement.verdicts[0], TooLargeError) and counter is not None:
            judgement.verdicts[0] = int(str(counter.value))
        return judgement


@caught_by(Appending)
class AppendsNothing(SharedMemoryDriver):
    """Appending nothing answers a number that the next append gets too."""

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        return await super().append(log, puts, check) if puts else 0
