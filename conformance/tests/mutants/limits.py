"""Wrong about limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from limpet import TooLargeError
from limpet.driver import Append, Batch, Item, Key, Outcome, Put, Unit
from limpet_conformance.sections.limits import Limits
from toys.on_batches import OnBatches
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

MIB = 1024 * 1024


@caught_by(Limits)
class SplitsLargeBatches(OnBatches):
    """A batch that the backend cannot take at once is written in parts."""

    async def applied(self, batch: Batch) -> None:
        for start in range(0, len(batch), 100):
            await super().applied(batch[start : start + 100])


@caught_by(Limits)
class TakesOneWriteLess(SharedMemoryDriver):
    """The declared number of writes is refused."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        outcomes = list(
            await super()._commit([unit for unit in units if isinstance(unit, Append) or len(unit) < 2_000])
        )
        return outcomes if len(outcomes) == len(units) else [TooLargeError("too many writes")] * len(units)


@caught_by(Limits)
class DeclaresTooLittle(SharedMemoryDriver):
    """Takes fewer keys in a `get` than every driver must."""

    capabilities = replace(SharedMemoryDriver.capabilities, max_keys=100)


@caught_by(Limits)
class CountsCharacters(OnBatches):
    """The limit of a value counts characters and not bytes."""

    async def applied(self, batch: Batch) -> None:
        exact = self.capabilities
        self.capabilities = replace(exact, max_value_bytes=4 * exact.max_value_bytes)
        try:
            for write in batch:
                if isinstance(write, Put) and len(write.value) > exact.max_value_bytes:
                    raise TooLargeError("the value is too large")
            await super().applied(batch)
        finally:
            self.capabilities = exact


@caught_by(Limits)
class CutsLargeValues(OnBatches):
    """A value that is too large is cut to what fits."""

    async def applied(self, batch: Batch) -> None:
        limit = self.capabilities.max_value_bytes
        await super().applied(
            [
                replace(write, value=write.value[:limit]) if isinstance(write, Put) and len(batch) == 1 else write
                for write in batch
            ]
        )


@caught_by(Limits)
class AnswersTheFirstKeys(SharedMemoryDriver):
    """A `get` of too many keys answers the first ones."""

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        return await super().get(keys[: self.capabilities.max_keys], values=values)


@caught_by(Limits)
class OneTooLargeFailsAll(SharedMemoryDriver):
    """A unit beyond a limit fails the whole group."""

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes = await super().commit(units)
        for outcome in outcomes:
            if isinstance(outcome, TooLargeError):
                return [outcome] * len(units)
        return outcomes


@caught_by(Limits)
class CountsValuesOnly(OnBatches):
    """The bytes of a batch are not counted at all."""

    async def applied(self, batch: Batch) -> None:
        exact = self.capabilities
        self.capabilities = replace(exact, max_batch_bytes=100 * MIB)
        try:
            await super().applied(batch)
        finally:
            self.capabilities = exact
