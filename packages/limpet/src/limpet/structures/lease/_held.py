"""What a worker or a person has taken for a while: renewed while a block runs, and ended by how the block ends."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Self

from ..._errors import LimpetError
from ._holding import Holding

__all__ = ["Held"]


class Held(ABC):
    """`async with` keeps it for as long as the block runs, completes it when the block ends well, else lets it go."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._ended = False

    @property
    def lost(self) -> asyncio.Event:
        """Set as soon as it is known that it has ended without us."""
        return self._holding.lost

    async def renew(self) -> None:
        """Keep it for as long again, from now on. Raises `LeaseLostError`."""
        await self._holding.renew()

    @abstractmethod
    async def _block_ended(self, error: BaseException | None) -> None:
        """Complete it without an error; with one, let others have it."""

    async def _keep(self) -> None:
        while not self.lost.is_set():
            await asyncio.sleep(self._holding.ttl_ms / 3000)
            with suppress(LimpetError):  # `lost` says it, or the next round tries again
                await self.renew()

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        if self._ended:
            return
        # What could not be let go comes back by itself, and what the block raised matters more.
        with suppress(LimpetError) if error is not None else nullcontext():
            await self._block_ended(error)
