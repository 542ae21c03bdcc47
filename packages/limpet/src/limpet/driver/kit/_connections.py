"""A few connections for many tasks, for drivers whose client library has no pool that is fast enough for short calls."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from os import getpid
from types import TracebackType
from typing import Generic, TypeVar

from ..._errors import UnavailableError
from ._forks import Inherited, check_process, silence

__all__ = ["Connections"]

C = TypeVar("C")

_SOON = 0.005
"""Seconds in which a call is likely to end."""


class Connections(Inherited, Generic[C]):
    """Gives each call a connection of its own, made when it is first needed and kept for the next call.

    Another is made only if none has become free for a few milliseconds, and a waiting call takes whichever comes
    first: connecting costs as much as many calls.
    If all of them are busy, a call waits for up to `timeout` seconds. The connection used last is used first, and
    one that is no longer `alive` is never used. When a call loses one, the free ones are closed too: whatever
    ended it has probably ended all of them, and each would cost another call its time-out.
    A child of `fork` has none: it neither reads from nor writes to what it inherited.
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
        socket: Callable[[C], int | None] = lambda _connection: None,
    ) -> None:
        """`connect` makes one, `end` closes one and must not raise, `place` names the server in messages.

        `socket` returns the descriptor of one, `None` where it is closed or not ours.

        `abort` gets the connection on which a block failed or was cancelled, since its state is unknown.
        """
        self._connect = connect
        self._alive = alive
        self._end = end
        self._size = size
        self._timeout = timeout
        self._place = place
        self._abort = abort
        self._socket = socket
        self._process = os.getpid()
        self._all: set[C] = set()
        """Those that are open, in use or not."""
        self._free: deque[C] = deque()
        self._room = asyncio.Semaphore(size)
        self._waiting: deque[asyncio.Future[C]] = deque()
        self._making: set[asyncio.Task[None]] = set()
        self.made: int = 0
        """How many were made so far."""
        self._count = 0
        """Connections there are, with those in the making."""
        self.inherited()

    def one(self) -> AbstractAsyncContextManager[C]:
        """A connection for a block. Raises `UnavailableError` where none becomes free, and what `connect` raises."""
        return _One(self)

    async def drop(self) -> None:
        """Close the free connections, all at once: saying goodbye to a dead server takes time."""
        free, self._free = self._free, deque()
        await asyncio.gather(*(self._ended(connection) for connection in free))

    async def close(self) -> None:
        """Close the free connections and stop making new ones. No call is under way."""
        making = [*self._making]
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)
        await self.drop()

    def add(self, connection: C) -> None:
        """Add one that was made beside these, so that a fork finds it too. `discard` it when it is closed."""
        self._all.add(connection)

    def discard(self, connection: C) -> None:
        """Forget one that is closed."""
        self._all.discard(connection)

    def forked(self) -> None:
        for connection in self._all:
            if (descriptor := self._socket(connection)) is not None:
                silence(descriptor)

    async def _taken(self) -> C | None:
        while self._free:
            connection = self._free.pop()
            if self._alive(connection):
                return connection
            await self._ended(connection)
        return None

    async def _first(self) -> C:
        """The connection that is made or given back first."""
        waiting: asyncio.Future[C] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        soon = asyncio.get_running_loop().call_later(_SOON if self._count else 0, self._make_more)
        try:
            return await waiting
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(waiting)
            if not waiting.cancelled() and waiting.exception() is None:
                self._give(waiting.result())
            raise
        finally:
            soon.cancel()

    def _give(self, connection: C) -> None:
        """Give it to the call that has waited longest, or keep it free."""
        if (waiting := self._longest()) is not None:
            waiting.set_result(connection)
        else:
            self._free.append(connection)

    def _longest(self) -> asyncio.Future[C] | None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():  # cancelled
                return waiting
        return None

    def _make_more(self) -> None:
        """One for each waiting call, as far as `size` allows."""
        while len(self._making) < len(self._waiting) and self._count < self._size:
            self._count += 1
            self._making.add(asyncio.create_task(self._make()))

    async def _make(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            connection = await self._connect()
        except BaseException as error:
            self._count -= 1
            if not isinstance(error, Exception):
                raise
            if (waiting := self._longest()) is not None:
                waiting.set_exception(error)
        else:
            self.made += 1
            self._all.add(connection)
            self._give(connection)
        finally:
            self._making.discard(task)
        self._make_more()

    async def _ended(self, connection: C) -> None:
        try:
            await self._end(connection)
        finally:
            self._all.discard(connection)
            self._count -= 1
            self._make_more()


class _One(AbstractAsyncContextManager[C]):
    """A connection for a block. A class, for a generator would cost as much as the rest of lending one."""

    __slots__ = ("_connection", "_of")

    def __init__(self, of: Connections[C]) -> None:
        self._of = of

    async def __aenter__(self) -> C:
        of = self._of
        if of._process != getpid():
            check_process(of._process, of._place)
        if of._room.locked():
            try:
                async with asyncio.timeout(of._timeout):
                    await of._room.acquire()
            except TimeoutError as error:
                raise UnavailableError(
                    f"all {of._size} connections to {of._place} stayed busy for {of._timeout:g} s: raise "
                    "'pool_size', or check the server's load"
                ) from error
        else:
            await of._room.acquire()
        try:
            if of._free and of._alive(of._free[-1]):  # as _taken does, without a call
                self._connection = of._free.pop()
            else:
                taken = await of._taken()
                self._connection = await of._first() if taken is None else taken
        except BaseException:
            of._room.release()
            raise
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        of, connection = self._of, self._connection
        try:
            if error is not None:
                of._abort(connection)
            if of._alive(connection):
                if of._waiting:
                    of._give(connection)
                else:
                    of._free.append(connection)
                return
            await of._ended(connection)
            if isinstance(error, Exception):  # and no cancellation, which says nothing of the server
                await of.drop()
        finally:
            of._room.release()
