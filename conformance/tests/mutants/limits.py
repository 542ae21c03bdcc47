"""Wrong about limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from limpet import TooLargeError
from limpet.driver import Append, Batch, Item, Key, Put, Verdict, Work
from limpet_conformance.sections.limits import Limits
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

MIB = 1024 * 1024


@caught_by(Limits)
class SplitsLargeBatches(SharedMemoryDriver):
    """A batch that the backend cannot take at once is written in parts."""

    async def apply(self, batch: Batch) -> None:
        for start in range(0, len(batch), 100):
            await super().apply(batch[start : start + 100])


@caught_by(Limits)
class TakesOneWriteLess(SharedMemoryDriver):
    """The declared number of writes is refused."""

    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        verdicts = list(await super()._commit([unit for unit in work if isinstance(unit, Append) or len(unit) < 2_000]))
        return verdicts if len(verdicts) == len(work) else [TooLargeError("too many writes")] * len(work)


@caught_by(Limits)
class DeclaresTooLittle(SharedMemoryDriver):
    """Takes fewer keys in a `get` than every driver must."""

    capabilities = replace(SharedMemoryDriver.capabilities, max_keys=100)


@caught_by(Limits)
class CountsCharacters(SharedMemoryDriver):
    """The limit of a value counts characters and not bytes."""

    async def apply(self, batch: Batch) -> None:
        exact = self.capabilities
        self.capabilities = replace(exact, max_value_bytes=4 * exact.max_value_bytes)
        try:
            for write in batch:
                if isinstance(write, Put) and len(write.value) > exact.max_value_bytes:
                    raise TooLargeError("the value is too large")
            await super().apply(batch)
        finally:
            self.capabilities = exact


@caught_by(Limits)
class CutsLargeValues(SharedMemoryDriver):
    """A value that is too large is cut to what fits."""

    async def apply(self, batch: Batch) -> None:
        limit = self.capabilities.max_value_bytes
        await super().apply(
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

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        verdicts = await super().apply_many(work)
        for verdict in verdicts:
            if isinstance(verdict, TooLargeError):
                return [verdict] * len(work)
        return verdicts


@caught_by(Limits)
class CountsValuesOnly(SharedMemoryDriver):
    """The bytes of a batch are not counted at all."""

    async def apply(self, batch: Batch) -> None:
        exact = self.capabilities
        self.capabilities = replace(exact, max_batch_bytes=100 * MIB)
        try:
            await super().apply(batch)
        finally:
            self.capabilities = exact
