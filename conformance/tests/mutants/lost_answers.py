"""Wrong about what became of a call whose answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from limpet import ConflictError, OutcomeUnknownError, UnavailableError
from limpet.driver import (
    Append,
    Batch,
    Check,
    Delete,
    Item,
    Judgement,
    Key,
    Put,
    Record,
    Verdict,
    Work,
    judge,
    new_etag,
)
from limpet_conformance.sections.lost_answers import LostAnswers
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


class _Settles(SharedMemoryDriver):
    """Sees every lost unit before the base class settles it."""

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
        verdict = await super()._settle(unit, cause)
        return await self.instead(unit, cause, verdict)

    async def instead(self, unit: Work, cause: UnavailableError, verdict: Verdict) -> Verdict:
        return verdict

    async def again(self, unit: Work) -> Verdict:
        (verdict,) = await self._commit([unit])
        return verdict


@caught_by(LostAnswers)
class ResendsWhateverWasLost(_Settles):
    """A batch without a condition is sent again too, on top of what others wrote in between."""

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
        return await self.again(unit)


@caught_by(LostAnswers)
class ResendsUnderNewEtags(_Settles):
    """Sends again under fresh etags, so that nothing tells the second time from the first."""

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
        if isinstance(unit, Append):
            return await super()._settle(unit, cause)
        return await self.again(
            [replace(write, etag=new_etag()) if isinstance(write, Put) else write for write in unit]
        )


@caught_by(LostAnswers)
class CallsItRefused(_Settles):
    """A conflict met when sending again is passed on as a refusal."""

    async def instead(self, unit: Work, cause: UnavailableError, verdict: Verdict) -> Verdict:
        return await self.again(unit) if isinstance(verdict, OutcomeUnknownError) else verdict


@caught_by(LostAnswers)
class CallsItRefusedWithoutAsking(_Settles):
    """Whatever cannot be proved is called a conflict."""

    async def instead(self, unit: Work, cause: UnavailableError, verdict: Verdict) -> Verdict:
        return ConflictError(keys=("a",)) if isinstance(verdict, OutcomeUnknownError) else verdict


@caught_by(LostAnswers)
class ClaimsThatItHappened(_Settles):
    """Whatever was sent is taken for done."""

    async def instead(self, unit: Work, cause: UnavailableError, verdict: Verdict) -> Verdict:
        return None if isinstance(verdict, OutcomeUnknownError) and not isinstance(unit, Append) else verdict


@caught_by(LostAnswers)
class ClaimsThatItDidNot(_Settles):
    """What was sent and lost is called unavailable, as if nothing had been sent."""

    async def instead(self, unit: Work, cause: UnavailableError, verdict: Verdict) -> Verdict:
        return cause if isinstance(verdict, OutcomeUnknownError) else verdict


@caught_by(LostAnswers)
class NeverReadsBack(_Settles):
    """Gives up at once although the own etag is there to be read."""

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
        return OutcomeUnknownError("who knows")


@caught_by(LostAnswers)
class SendsAppendsAgain(_Settles):
    """A lost append is appended again."""

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
        return await self.again(unit) if isinstance(unit, Append) else await super()._settle(unit, cause)


@caught_by(LostAnswers)
class GroupSharesOneFate(SharedMemoryDriver):
    """All units of a lost group are told what became of the first."""

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        verdicts = await super().apply_many(work)
        if any(isinstance(verdict, OutcomeUnknownError) for verdict in verdicts):
            return [OutcomeUnknownError("who knows")] * len(verdicts)
        return verdicts


@caught_by(LostAnswers)
class NeverSentIsUnknown(SharedMemoryDriver):
    """What was never sent is called unknown, and callers go looking for it."""

    async def apply(self, batch: Batch) -> None:
        try:
            await super().apply(batch)
        except UnavailableError as error:
            raise OutcomeUnknownError("who knows") from error


@caught_by(LostAnswers)
class BrokenAfterALostAnswer(SharedMemoryDriver):
    """The connection that failed is never replaced."""

    broken = False

    async def apply(self, batch: Batch) -> None:
        if self.broken:
            raise UnavailableError("the connection is gone")
        await super().apply(batch)

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
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

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
        return None


@caught_by(LostAnswers)
class LooksAgainAfterARefusal(SharedMemoryDriver):
    """A conflict is completed by another read, and is lost where that read fails."""

    async def apply(self, batch: Batch) -> None:
        try:
            await super().apply(batch)
        except ConflictError as conflict:
            await self.get(conflict.keys)
            raise


@caught_by(LostAnswers)
class ReadsBackOnce(_Settles):
    """When reading back fails, the write is called unavailable."""

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
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

    def judged(self, work: Sequence[Work], now: int, records: Mapping[Key, Record | None]) -> Judgement:
        judgement = judge(work, now, records)
        for place, unit in enumerate(work):
            etags = set() if isinstance(unit, Append) else {write.etag for write in unit if isinstance(write, Put)}
            if etags & self.seen and not isinstance(unit, Append):
                bare = [replace(write, cond=None) for write in unit if not isinstance(write, Check)]
                judgement.net.update(judge([bare], now, {}).net)
                judgement.net.update({write.key: None for write in bare if isinstance(write, Delete)})
                judgement.verdicts[place] = None
            self.seen.update(etags)
        return judgement


@caught_by(LostAnswers)
class SendsAgainWhenCancelled(SharedMemoryDriver):
    """A call that is cancelled makes sure of its write, under another etag."""

    async def apply(self, batch: Batch) -> None:
        try:
            await super().apply(batch)
        except asyncio.CancelledError:
            puts = [replace(write, etag=new_etag(), cond=None) for write in batch if isinstance(write, Put)]
            await self._commit([puts])
            raise
