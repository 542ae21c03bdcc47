"""Wrong about units that travel together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from limpet import LimpetError, TooLargeError, UnavailableError
from limpet.driver import Append, Batch, Item, Judgement, Key, Put, Record, Verdict, Work, judge
from limpet_conformance.sections.grouping import Grouping
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


@caught_by(Grouping)
class VerdictsShifted(SharedMemoryDriver):
    """Each unit is given the verdict of the one before."""

    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        verdicts = list(await super()._commit(work))
        return verdicts[-1:] + verdicts[:-1]


@caught_by(Grouping)
class OneFailsAll(SharedMemoryDriver):
    """A group is one transaction, and one refusal rolls it back."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        failure = next((verdict for verdict in judgement.verdicts if isinstance(verdict, Exception)), None)
        return judgement if failure is None else Judgement([failure] * len(work), {})


@caught_by(Grouping)
class StopsAtTheFirstFailure(SharedMemoryDriver):
    """What stands behind a refused unit is not done, and called done."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        failed = next(
            (at for at, verdict in enumerate(judgement.verdicts) if isinstance(verdict, Exception)), len(work)
        )
        return Judgement(judgement.verdicts, judge(work[: failed + 1], now, records).net)


@caught_by(Grouping)
class UnitsDoNotSeeEachOther(SharedMemoryDriver):
    """Each unit is judged against what was there before the group."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        verdicts: list[Verdict] = []
        net: dict[Key, Record | None] = {}
        for unit in work:
            judgement = judge([unit], now, records)
            verdicts += judgement.verdicts
            net |= judgement.net
        return Judgement(verdicts, net)


@caught_by(Grouping)
class RefusedUnitsLeaveWrites(SharedMemoryDriver):
    """The writes of a refused batch stay in the group's overlay."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for unit, verdict in zip(work, judgement.verdicts, strict=True):
            if isinstance(verdict, Exception) and not isinstance(unit, Append) and len(unit) > 1 and len(work) > 1:
                judgement.net.update(
                    judge([[replace(w, cond=None) for w in unit if isinstance(w, Put)]], now, records).net
                )
        return judgement


@caught_by(Grouping)
class ForgetsTheTail(SharedMemoryDriver):
    """A statement holds 500 units; the rest is acknowledged unwritten."""

    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        return [*await super()._commit(work[:500]), *[None] * len(work[500:])]


@caught_by(Grouping)
class RaisesForOneUnit(SharedMemoryDriver):
    """An invalid unit makes the whole call raise."""

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        verdicts = await super().apply_many(work)
        for verdict in verdicts:
            if isinstance(verdict, ValueError):
                raise verdict
        return verdicts


@caught_by(Grouping)
class OneEtagAGroup(SharedMemoryDriver):
    """All items of a group are stored under the etag of the first."""

    def write(self, net: Records) -> None:
        etag = next((record.etag for record in net.values() if record is not None), None)
        super().write({at: record and record._replace(etag=etag or record.etag) for at, record in net.items()})


@caught_by(Grouping)
class CancelsTheNeighbours(SharedMemoryDriver):
    """Calls that are made at once share one task, and cancelling one caller cancels it."""

    waiting: list[Batch]
    sending: asyncio.Task[list[Verdict]] | None = None

    async def apply(self, batch: Batch) -> None:
        if self.sending is None:
            self.waiting = []
            self.sending = asyncio.create_task(self._send())
        place = len(self.waiting)
        self.waiting.append(batch)
        verdict = (await self.sending)[place]
        if isinstance(verdict, LimpetError):
            raise verdict

    async def _send(self) -> list[Verdict]:
        await asyncio.sleep(0)
        self.sending, batches = None, self.waiting
        return await self.apply_many(batches)


@caught_by(Grouping)
class SwallowsCancellation(SharedMemoryDriver):
    """A cancelled call returns as if nothing had happened."""

    async def apply(self, batch: Batch) -> None:
        try:
            await super().apply(batch)
        except asyncio.CancelledError:
            return


@caught_by(Grouping)
class AnswersOfOthers(SharedMemoryDriver):
    """Reads that are made at once share one answer."""

    reading: asyncio.Task[Sequence[Item | None]] | None = None

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        if self.reading is None or self.reading.done():
            self.reading = asyncio.create_task(self._fetched(keys, values))
        answer = await asyncio.shield(self.reading)
        return answer if len(answer) == len(keys) else await self._fetched(keys, values)

    async def _fetched(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        return await super()._fetch(keys, values)


@caught_by(Grouping)
class AnswersForNobody(SharedMemoryDriver):
    """A group of nothing is given a verdict."""

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        return await super().apply_many(work) or [None]


@caught_by(Grouping)
class AGroupIsOneBatch(SharedMemoryDriver):
    """The limit of a batch is held against the whole group."""

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        writes = [write for unit in work if not isinstance(unit, Append) for write in unit]
        size = sum(len(write.value) for write in writes if isinstance(write, Put))
        if self.capabilities.max_batch_bytes < size < self.capabilities.max_batch_bytes * 100:
            return [TooLargeError("the group is too large")] * len(work)
        return await super().apply_many(work)


@caught_by(Grouping)
class FortyCallsAtMost(SharedMemoryDriver):
    """A pool that is empty refuses instead of waiting."""

    calls = 0

    async def apply(self, batch: Batch) -> None:
        if self.calls >= 40:
            raise UnavailableError("the pool is empty")
        self.calls += 1
        try:
            await super().apply(batch)
        finally:
            self.calls -= 1
