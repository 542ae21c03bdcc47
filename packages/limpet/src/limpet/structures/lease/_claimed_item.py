"""A claimed item is renewed while a block runs, and completed or released depending on how the block ends."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Self, TypeVar

from ..._errors import LimpetError
from ..._run_to_end import run_to_end
from ._owned_item import OwnedItem

__all__ = ["ClaimedItem"]

R = TypeVar("R")


class ClaimedItem(ABC):
    """`async with` renews the claim, completes it when the block succeeds, and gives it back otherwise."""

    def __init__(self, claim: OwnedItem) -> None:
        self._claim = claim
        self._ended = False

    @property
    def lost(self) -> asyncio.Event:
        """Set as soon as it is known that the claim has expired."""
        return self._claim.lost

    async def renew(self) -> None:
        """Extend the claim by its full duration from now. Raises `LeaseLostError`."""
        await self._claim.renew()

    @abstractmethod
    async def _block_ended(self, error: BaseException | None) -> None:
        """Complete it if there is no error; otherwise let others claim it."""

    async def _end(self, end: Callable[[], Awaitable[R]]) -> R:
        """End the claim, once. Raises `LeaseLostError` if it has expired."""
        if self._ended:
            raise self._claim.lost_error()
        result = await end()
        self._ended = True
        return result

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._claim.keep_alive())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await run_to_end(self._leave(error))

    async def _leave(self, error: BaseException | None) -> None:
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        if self._ended:
            return
        self._claim.warn_if_it_ran_out()
        # A claim that cannot be given back expires, and the block's own error matters more.
        with suppress(LimpetError) if error is not None else nullcontext():
            await self._block_ended(error)
