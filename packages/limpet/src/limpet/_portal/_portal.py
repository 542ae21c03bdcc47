"""Calls to an event loop in its own thread, from any other thread or event loop."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from _thread import allocate_lock
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet, finalize

from .._errors import ClosedError, ForeignLoopError, ForkedError, LimpetError
from .._run_to_end import run_to_end
from ..driver.kit import Inherited, check_process, forked_since
from ._crossing import Crossing
from ._loops import LOOK, CrossedLoop, LoopThread, RunningLoop

__all__ = ["Portal"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_AT_EXIT = 2.0
"""How many seconds the interpreter's exit waits, at most, for what was not closed."""


class Portal(Inherited):
    """A loop that the first call starts. It ends with `end`, with the interpreter, or when nothing refers to it any more.

    A call runs in a task of its own, in a copy of the caller's context. A caller that is cancelled or interrupted
    cancels it, and waits until it has ended. On the loop itself, an asynchronous call is a plain one and a synchronous
    one, which would wait for itself, a `ForeignLoopError`.
    """

    def __init__(
        self, close: Callable[[], Awaitable[object]], open: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """`open` runs before the first call, and before the next one where it failed.

        `close` ends what lives on the loop where nobody called `end`; it must not lead back to this object.
        """
        self._open = open
        self._close = close
        self._loop: CrossedLoop | None = None
        self._process = 0
        self._is_closed = False
        self._lock = threading.Lock()
        self.inherited()

    @classmethod
    def to_here(cls) -> Portal:
        """Return a portal to the event loop that runs here, which is the application's and is not ended by this."""

        async def close() -> None:
            pass

        portal = cls(close)
        portal._loop = RunningLoop()
        portal._process = portal._loop.process
        return portal

    def call(self, function: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a call on the loop, and block this thread until it has ended."""
        return self.take(None, partial(function, *args, **kwargs))

    def take(
        self, give_back: Callable[[R], Awaitable[object]] | None, function: Callable[[], Coroutine[Any, Any, R]]
    ) -> R:
        """Like `call`, but the result is given back if the caller was interrupted and will not use it."""
        loop = self._started()
        if threading.get_ident() == loop.ident:
            raise ForeignLoopError(
                "a synchronous call on the event loop that it would wait for: make it in another thread, such as with "
                "asyncio.to_thread"
            )
        notified = allocate_lock()
        notified.acquire()
        is_notified = False

        def notify() -> None:
            nonlocal is_notified
            is_notified = True
            notified.release()

        if self._open is not None:
            function = partial(self._opened, function)
        crossing = Crossing(function, threading.current_thread(), notify)
        loop.send(crossing)
        try:
            loop.wait(notified)
        except BaseException:
            loop.cancel(crossing)
            if not is_notified:  # otherwise the interruption came after the wait was over
                loop.wait(notified)
            if give_back is not None and crossing.succeeded:
                with suppress(LimpetError):  # it ends by itself
                    self.call(_awaited, give_back, crossing.result())
            raise
        try:
            return crossing.result()
        finally:
            del crossing

    async def cross(self, function: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a call on the loop, from any event loop."""
        return await self.take_across(None, partial(function, *args, **kwargs))

    async def take_across(
        self, give_back: Callable[[R], Awaitable[object]] | None, function: Callable[[], Coroutine[Any, Any, R]]
    ) -> R:
        """Like `cross`, but the result is given back if the caller was cancelled and will not use it."""
        loop = self._started()
        here = asyncio.get_running_loop()
        if here is loop.loop:
            return await function()
        if self._open is not None:
            function = partial(self._opened, function)
        is_notified = False
        waiting: asyncio.Future[None] = here.create_future()

        def wake() -> None:
            nonlocal is_notified
            is_notified = True
            if not waiting.done():
                waiting.set_result(None)

        def notify() -> None:
            with suppress(RuntimeError):  # the caller's loop has ended, and the caller with it
                here.call_soon_threadsafe(wake)

        crossing = Crossing(function, asyncio.current_task(), notify)
        loop.send(crossing)
        cancelled: asyncio.CancelledError | None = None
        while not is_notified:
            try:
                if cancelled is None:
                    await waiting
                else:
                    await asyncio.wait([waiting], timeout=LOOK)
                    loop.look()
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
                waiting = here.create_future()
                loop.cancel(crossing)
        try:
            if cancelled is not None:
                if give_back is not None and crossing.succeeded:
                    with suppress(LimpetError):
                        await run_to_end(self.cross(_awaited, give_back, crossing.result()))
                raise cancelled
            return crossing.result()
        finally:
            del crossing, cancelled

    def post(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run a function on the loop, before every later call from here, without waiting for it. It must not raise."""
        loop = self._started()
        loop.send(Crossing(function, None, lambda: None))

    def iterate(self, iterator: AsyncIterator[T]) -> Generator[T, None, None]:
        """Yield the items of an asynchronous iterator on the loop, for a `for` loop in this thread."""
        try:
            while found := self.call(_following, iterator):
                yield found[0]
        finally:
            if isinstance(iterator, AsyncGenerator):
                with suppress(ClosedError, ForkedError, ForeignLoopError):  # otherwise its own loop closes it
                    self.call(_awaited, _end, iterator)

    async def iterate_across(self, iterator: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Yield the items of an asynchronous iterator on the loop, for an `async for` on any event loop."""
        try:
            while found := await self.cross(_following, iterator):
                yield found[0]
        finally:
            if isinstance(iterator, AsyncGenerator):
                with suppress(ClosedError, ForkedError):
                    await run_to_end(self.cross(_awaited, _end, iterator))

    def open_no_more(self) -> None:
        """Let a close continue without trying again to open what could not be opened."""
        self._open = None

    def end(self) -> None:
        """End the loop and its thread. Does nothing if it has ended, or in a forked child."""
        if (loop := self._ended()) is not None and threading.get_ident() != loop.ident:
            loop.join()

    async def end_across(self) -> None:
        """Like `end`, from any event loop."""
        if (loop := self._ended()) is not None and asyncio.get_running_loop() is not loop.loop:
            await run_to_end(loop.over())
            loop.join()

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def is_opened(self) -> bool:
        """Whether a call has opened the database."""
        return self._loop is not None and self._open is None

    @property
    def is_here(self) -> bool:
        """Whether this is the thread that runs the loop."""
        return self._loop is not None and self._loop.ident == threading.get_ident()

    @property
    def is_gone(self) -> bool:
        """Whether the loop has stopped although `end` was not called."""
        return self._loop is not None and not self._loop.loop.is_running()

    @property
    def is_forked(self) -> bool:
        """Whether this process is a child of the one that made the first call."""
        return self._process != 0 and forked_since(self._process)

    def forked(self) -> None:
        self._lock = threading.Lock()  # a thread that does not exist here may hold the old one
        if self._loop is not None:
            self._process = self._loop.process

    async def _opened(self, function: Callable[[], Coroutine[Any, Any, R]]) -> R:
        if self._open is not None:
            await self._open()
            self._open = None
        return await function()

    def _started(self) -> CrossedLoop:
        if self._is_closed:
            raise ClosedError("used after it was closed: open a new one")
        if self._process == os.getpid() and self._loop is not None:
            return self._loop
        if self._process:
            check_process(self._process, "the database")
        with self._lock:
            if self._is_closed:
                raise ClosedError("used after it was closed: open a new one")
            if self._loop is None:
                self._loop = LoopThread(self._close)
                self._process = self._loop.process
                _running.add(self)
                finalize(self, _drop, self._loop).atexit = False
        return self._loop

    def _ended(self) -> CrossedLoop | None:
        if self.is_forked:
            self._is_closed = True
            return None
        with self._lock:
            self._is_closed = True
        _running.discard(self)
        if self._loop is not None:
            self._loop.stop()
        return self._loop


async def _following(iterator: AsyncIterator[T]) -> tuple[T] | None:
    try:
        return (await anext(iterator),)
    except StopAsyncIteration:
        return None


async def _end(iterator: AsyncGenerator[Any, None]) -> None:
    await iterator.aclose()


async def _awaited(function: Callable[[T], Awaitable[object]], argument: T) -> None:
    await function(argument)


_running: WeakSet[Portal] = WeakSet()


def _drop(loop: CrossedLoop) -> None:
    if not forked_since(loop.process):
        loop.forget()


@atexit.register
def _at_exit() -> None:
    loops = [portal._loop for portal in list(_running) if portal._loop is not None and not portal.is_forked]
    for loop in loops:
        loop.forget()
    until = monotonic() + _AT_EXIT
    for loop in loops:
        loop.join(max(0.0, until - monotonic()))
