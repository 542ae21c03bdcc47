"""For drivers that do something else with a batch that comes alone."""

from __future__ import annotations

from collections.abc import Sequence

from limpet import LimpetError
from limpet.driver import Append, Batch, Outcome, Unit

from toys.shared_memory import SharedMemoryDriver

__all__ = ["OnBatches"]


class OnBatches(SharedMemoryDriver):
    """Subclasses override `applied`, which applies one batch or raises."""

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        if len(units) != 1 or isinstance(units[0], Append):
            return await super().commit(units)
        try:
            await self.applied(units[0])
        except LimpetError as error:
            return [error]
        return [None]

    async def applied(self, batch: Batch) -> None:
        (outcome,) = await super().commit([batch])
        if isinstance(outcome, Exception):
            raise outcome
