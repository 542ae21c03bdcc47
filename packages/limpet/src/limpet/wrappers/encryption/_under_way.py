"""Calls that need several calls to the wrapped driver. Closing waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from ..._errors import ClosedError

__all__ = ["UnderWay"]


class UnderWay:
    """Counts the calls inside its `with`. `end` refuses new ones, waits for these, and then closes."""

    def __init__(self) -> None:
        self._count = 0
        self._ended = False
        self._idle = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        if self._ended:
            raise ClosedError("used after close(): open a new one")
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()

    async def end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call `close` once nothing is under way.

        If the caller is cancelled, this continues, and the next caller waits for it.
        """
        if not self._count and self._ending is None:
            await close()
            self._ended = True
            return
        if self._ending is None:
            self._ended = True
            self._idle.clear()
            self._ending = asyncio.create_task(self._end(close))
        await asyncio.shield(self._ending)

    async def _end(self, close: Callable[[], Awaitable[None]]) -> None:
        if self._count:
            await self._idle.wait()
        await close()
