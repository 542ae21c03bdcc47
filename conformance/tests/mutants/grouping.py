"""Wrong about units that travel together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from limpet import LimpetError, TooLargeError, UnavailableError
from limpet.driver import Append, Batch, Item, Key, Outcome, Put, Unit
from limpet.driver.kit import Evaluation, Record, evaluate
from limpet_conformance.sections.grouping import Grouping
from toys.on_batches import OnBatches
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


@caught_by(Grouping)
class VerdictsShifted(SharedMemoryDriver):
    """Each unit is given the verdict of the one before."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        outcomes = list(await super()._commit(units))
        return outcomes[-1:] + outcomes[:-1]


@caught_by(Grouping)
class OneFailsAll(SharedMemoryDriver):
    """A group is one transaction, and one refusal rolls it back."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        failure = next((outcome for outcome in evaluation.outcomes if isinstance(outcome, Exception)), None)
        return evaluation if failure is None else Evaluation([failure] * len(units), {})


@caught_by(Grouping)
class StopsAtTheFirstFailure(SharedMemoryDriver):
    """What stands behind a refused unit is not done, and called done."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        failed = next(
            (at for at, outcome in enumerate(evaluation.outcomes) if isinstance(outcome, Exception)), len(units)
        )
        return Evaluation(evaluation.outcomes, evaluate(units[: failed + 1], now, records).effects)


@caught_by(Grouping)
class UnitsDoNotSeeEachOther(SharedMemoryDriver):
    """Each unit is judged against what was there before the group."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        outcomes: list[Outcome] = []
        effects: dict[Key, Record | None] = {}
        for unit in units:
            evaluation = evaluate([unit], now, records)
            outcomes += evaluation.outcomes
            effects |= evaluation.effects
        return Evaluation(outcomes, effects)


@caught_by(Grouping)
class RefusedUnitsLeaveWrites(SharedMemoryDriver):
    """The writes of a refused batch stay in the group's overlay."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for unit, outcome in zip(units, evaluation.outcomes, strict=True):
            if isinstance(outcome, Exception) and not isinstance(unit, Append) and len(unit) > 1 and len(units) > 1:
                evaluation.effects.update(
                    evaluate([[replace(w, cond=None) for w in unit if isinstance(w, Put)]], now, records).effects
                )
        return evaluation


@caught_by(Grouping)
class ForgetsTheTail(SharedMemoryDriver):
    """A statement holds 500 units; the rest is acknowledged unwritten."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        return [*await super()._commit(units[:500]), *[None] * len(units[500:])]


@caught_by(Grouping)
class RaisesForOneUnit(SharedMemoryDriver):
    """An invalid unit makes the whole call raise."""

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes = await super().commit(units)
        for outcome in outcomes:
            if isinstance(outcome, ValueError):
                raise outcome
        return outcomes


@caught_by(Grouping)
class OneEtagAGroup(SharedMemoryDriver):
    """All items of a group are stored under the etag of the first."""

    def write(self, effects: Records) -> None:
        etag = next((record.etag for record in effects.values() if record is not None), None)
        super().write({at: record and record._replace(etag=etag or record.etag) for at, record in effects.items()})


@caught_by(Grouping)
class CancelsTheNeighbours(OnBatches):
    """Calls that are made at once share one task, and cancelling one caller cancels it."""

    waiting: list[Batch]
    sending: asyncio.Task[list[Outcome]] | None = None

    async def applied(self, batch: Batch) -> None:
        if self.sending is None:
            self.waiting = []
            self.sending = asyncio.create_task(self._send())
        place = len(self.waiting)
        self.waiting.append(batch)
        outcome = (await self.sending)[place]
        if isinstance(outcome, LimpetError):
            raise outcome

    async def _send(self) -> list[Outcome]:
        await asyncio.sleep(0)
        self.sending, batches = None, self.waiting
        return await SharedMemoryDriver.commit(self, batches)


@caught_by(Grouping)
class SwallowsCancellation(OnBatches):
    """A cancelled call returns as if nothing had happened."""

    async def applied(self, batch: Batch) -> None:
        try:
            await super().applied(batch)
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

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await super().commit(units) or [None]


@caught_by(Grouping)
class AGroupIsOneBatch(SharedMemoryDriver):
    """The limit of a batch is held against the whole group."""

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        writes = [write for unit in units if not isinstance(unit, Append) for write in unit]
        size = sum(len(write.value) for write in writes if isinstance(write, Put))
        if self.capabilities.max_batch_bytes < size < self.capabilities.max_batch_bytes * 100:
            return [TooLargeError("the group is too large")] * len(units)
        return await super().commit(units)


@caught_by(Grouping)
class FortyCallsAtMost(OnBatches):
    """A pool that is empty refuses instead of waiting."""

    calls = 0

    async def applied(self, batch: Batch) -> None:
        if self.calls >= 40:
            raise UnavailableError("the pool is empty")
        self.calls += 1
        try:
            await super().applied(batch)
        finally:
            self.calls -= 1
