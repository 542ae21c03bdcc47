"""A few connections for many tasks: for drivers whose client library has no pool that is as fast as a short call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from .._errors import UnavailableError

__all__ = ["Connections"]

C = TypeVar("C")


class Connections(Generic[C]):
    """Gives each call a connection of its own, made when it is first needed and kept for the next call.

    Whoever finds all of them busy waits, for up to `timeout` seconds. The one that was used last is used first, and
    one that is not `alive` any more is given to nobody. When a call loses one, those that are free are closed too: what
    ended it has probably ended all, and each would cost another call its time-out.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        *,
        alive: Callable[[C], bool],
        end: Callable[[C], Awaitable[object]],
        size: int,
        timeout: float,
        place: str,
        abort: Callable[[C], object] = lambda _connection: None,
    ) -> None:
        """`connect` makes one, `end` closes one and must not raise, `place` names the server in messages.

        `abort` is told which one a block has failed on, or was cancelled on: nobody knows what it is in the middle of.
        """
        self._connect = connect
        self._alive = alive
        self._end = end
        self._size = size
        self._timeout = timeout
        self._place = place
        self._abort = abort
        self._free: deque[C] = deque()
        self._room = asyncio.Semaphore(size)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[C]:
        """A connection for a block. Raises `UnavailableError` where none becomes free, and what `connect` raises."""
        if self._room.locked():
            try:
                async with asyncio.timeout(self._timeout):
                    await self._room.acquire()
            except TimeoutError as error:
                raise UnavailableError(
                    f"all {self._size} connections to {self._place} stayed busy for {self._timeout:g} s: raise "
                    "'pool_size', or look at the server's load"
                ) from error
        else:
            await self._room.acquire()
        try:
            connection = await self._taken()
            if connection is None:
                connection = await self._connect()
            failed = False
            try:
                yield connection
            except BaseException as error:
                failed = isinstance(error, Exception)  # and no cancellation, which says nothing of the server
                self._abort(connection)
                raise
            finally:
                if self._alive(connection):
                    self._free.append(connection)
                else:
                    await self._end(connection)
                    if failed:
                        await self.drop()
        finally:
            self._room.release()

    async def drop(self) -> None:
        """Close those that are free, all at once: saying goodbye to who is gone takes its time."""
        free, self._free = self._free, deque()
        await asyncio.gather(*(self._end(connection) for connection in free))

    async def _taken(self) -> C | None:
        while self._free:
            connection = self._free.pop()
            if self._alive(connection):
                return connection
            await self._end(connection)
        return None
