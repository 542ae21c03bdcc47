"""Wrong about what became of a call whose answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from limpet import ConflictError, OutcomeUnknownError, UnavailableError
from limpet.driver import Append, Batch, Check, Delete, Item, Key, Outcome, Put, Unit, new_etag
from limpet.driver.kit import Evaluation, Record, evaluate
from limpet_conformance.sections.lost_answers import LostAnswers
from toys.on_batches import OnBatches
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


class _Settles(SharedMemoryDriver):
    """Sees every lost unit before the base class settles it."""

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        outcome = await super()._settle(unit, cause)
        return await self.instead(unit, cause, outcome)

    async def instead(self, unit: Unit, cause: UnavailableError, outcome: Outcome) -> Outcome:
        return outcome

    async def again(self, unit: Unit) -> Outcome:
        (outcome,) = await self._commit([unit])
        return outcome


@caught_by(LostAnswers)
class ResendsWhateverWasLost(_Settles):
    """A batch without a condition is sent again too, on top of what others wrote in between."""

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        return await self.again(unit)


@caught_by(LostAnswers)
class ResendsUnderNewEtags(_Settles):
    """Sends again under fresh etags, so that nothing tells the second time from the first."""

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        if isinstance(unit, Append):
            return await super()._settle(unit, cause)
        return await self.again(
            [replace(write, etag=new_etag()) if isinstance(write, Put) else write for write in unit]
        )


@caught_by(LostAnswers)
class CallsItRefused(_Settles):
    """A conflict met when sending again is passed on as a refusal."""

    async def instead(self, unit: Unit, cause: UnavailableError, outcome: Outcome) -> Outcome:
        return await self.again(unit) if isinstance(outcome, OutcomeUnknownError) else outcome


@caught_by(LostAnswers)
class CallsItRefusedWithoutAsking(_Settles):
    """Whatever cannot be proved is called a conflict."""

    async def instead(self, unit: Unit, cause: UnavailableError, outcome: Outcome) -> Outcome:
        return ConflictError(keys=("a",)) if isinstance(outcome, OutcomeUnknownError) else outcome


@caught_by(LostAnswers)
class ClaimsThatItHappened(_Settles):
    """Whatever was sent is taken for done."""

    async def instead(self, unit: Unit, cause: UnavailableError, outcome: Outcome) -> Outcome:
        return None if isinstance(outcome, OutcomeUnknownError) and not isinstance(unit, Append) else outcome


@caught_by(LostAnswers)
class ClaimsThatItDidNot(_Settles):
    """What was sent and lost is called unavailable, as if nothing had been sent."""

    async def instead(self, unit: Unit, cause: UnavailableError, outcome: Outcome) -> Outcome:
        return cause if isinstance(outcome, OutcomeUnknownError) else outcome


@caught_by(LostAnswers)
class NeverReadsBack(_Settles):
    """Gives up at once although the own etag is there to be read."""

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        return OutcomeUnknownError("who knows")


@caught_by(LostAnswers)
class SendsAppendsAgain(_Settles):
    """A lost append is appended again."""

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        return await self.again(unit) if isinstance(unit, Append) else await super()._settle(unit, cause)


@caught_by(LostAnswers)
class GroupSharesOneFate(SharedMemoryDriver):
    """All units of a lost group are told what became of the first."""

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes = await super().commit(units)
        if any(isinstance(outcome, OutcomeUnknownError) for outcome in outcomes):
            return [OutcomeUnknownError("who knows")] * len(outcomes)
        return outcomes


@caught_by(LostAnswers)
class NeverSentIsUnknown(OnBatches):
    """What was never sent is called unknown, and callers go looking for it."""

    async def applied(self, batch: Batch) -> None:
        try:
            await super().applied(batch)
        except UnavailableError as error:
            raise OutcomeUnknownError("who knows") from error


@caught_by(LostAnswers)
class BrokenAfterALostAnswer(OnBatches):
    """The connection that failed is never replaced."""

    broken = False

    async def applied(self, batch: Batch) -> None:
        if self.broken:
            raise UnavailableError("the connection is gone")
        await super().applied(batch)

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        self.broken = True
        return await super()._settle(unit, cause)


@caught_by(LostAnswers)
class FailedReadsFindNothing(SharedMemoryDriver):
    """A read that fails answers that nothing is there."""

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        try:
            return await super().get(keys, values=values)
        except UnavailableError:
            return [None] * len(keys)


@caught_by(LostAnswers)
class ClaimsWithoutAsking(_Settles):
    """What was lost is taken for done, without a look."""

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        return None


@caught_by(LostAnswers)
class LooksAgainAfterARefusal(OnBatches):
    """A conflict is completed by another read, and is lost where that read fails."""

    async def applied(self, batch: Batch) -> None:
        try:
            await super().applied(batch)
        except ConflictError as conflict:
            await self.get(conflict.keys)
            raise


@caught_by(LostAnswers)
class ReadsBackOnce(_Settles):
    """When reading back fails, the write is called unavailable."""

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        if not isinstance(unit, Append):
            try:
                await self._fetch([write.key for write in unit], False)
            except UnavailableError as error:
                return error
        return await super()._settle(unit, cause)


@caught_by(LostAnswers)
class TheSecondTimeIsNotJudged(SharedMemoryDriver):
    """A batch that was judged before is done again as it stands."""

    seen: ClassVar[set[str]] = set()

    def evaluated(self, units: Sequence[Unit], now: int, records: Mapping[Key, Record | None]) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for place, unit in enumerate(units):
            etags = set() if isinstance(unit, Append) else {write.etag for write in unit if isinstance(write, Put)}
            if etags & self.seen and not isinstance(unit, Append):
                bare = [replace(write, cond=None) for write in unit if not isinstance(write, Check)]
                evaluation.effects.update(evaluate([bare], now, {}).effects)
                evaluation.effects.update({write.key: None for write in bare if isinstance(write, Delete)})
                evaluation.outcomes[place] = None
            self.seen.update(etags)
        return evaluation


@caught_by(LostAnswers)
class SendsAgainWhenCancelled(OnBatches):
    """A call that is cancelled makes sure of its write, under another etag."""

    async def applied(self, batch: Batch) -> None:
        try:
            await super().applied(batch)
        except asyncio.CancelledError:
            puts = [replace(write, etag=new_etag(), cond=None) for write in batch if isinstance(write, Put)]
            await self._commit([puts])
            raise
