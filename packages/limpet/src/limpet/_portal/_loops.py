"""The event loops that calls are sent to: one in a thread of ours, or one that the application runs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from .._errors import ClosedError, LimpetError
from ._crossing import Crossing

__all__ = ["LOOK", "CrossedLoop", "LoopThread", "RunningLoop"]

_LAST_WORDS = 1.0
"""How many seconds closing may take if nobody waits for it."""
LOOK = 0.5
"""How often, in seconds, a thread that waits for the application's loop checks that it still runs."""


class CrossedLoop:
    """An event loop, and its unfinished calls."""

    loop: asyncio.AbstractEventLoop
    ident: int | None
    """The thread that runs the loop."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._pending: dict[Crossing[Any], bool] = {}
        """The unfinished calls. The code that removes a call from here notifies its caller, exactly once."""
        self._is_ending = False

    def send(self, crossing: Crossing[Any]) -> None:
        """Start a call. Raises `ClosedError` if the loop has ended."""
        self._pending[crossing] = True
        try:
            self.loop.call_soon_threadsafe(self._start, crossing)
        except RuntimeError:
            if self._pending.pop(crossing, False):
                raise ClosedError("used after it was closed: open a new one") from None

    def cancel(self, crossing: Crossing[Any]) -> None:
        """Cancel a call. Its caller is notified when the call has ended."""
        with suppress(RuntimeError):  # the loop has ended, and the call with it
            self.loop.call_soon_threadsafe(crossing.cancel)

    def wait(self, notified: threading.Lock) -> None:
        """Block until the notification has released this lock."""
        notified.acquire()

    def stop(self) -> None:
        """End the loop if it is ours. Tasks on it are cancelled."""

    def forget(self) -> None:
        """Close what is open, within the time limit, and stop."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until the loop has ended, if it is ours."""

    async def over(self) -> None:
        """Wait until the loop has ended, if it is ours, without blocking the current loop."""

    def look(self) -> None:
        """Notify the callers whose calls can no longer finish."""

    def _start(self, crossing: Crossing[Any]) -> None:
        if self._is_ending:
            self._notify(crossing)
        else:
            crossing.start(self._notify)

    def _abandon(self) -> None:
        for crossing in list(self._pending):
            self._notify(crossing)

    def _notify(self, crossing: Crossing[Any]) -> None:
        if self._pending.pop(crossing, False):
            crossing.notify()


class RunningLoop(CrossedLoop):
    """The event loop that runs in this thread. It is the application's, which also ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.ident = threading.get_ident()

    def wait(self, notified: threading.Lock) -> None:
        while not notified.acquire(timeout=LOOK):
            if self.loop.is_closed():
                self.look()

    def look(self) -> None:
        if not self.loop.is_running():
            self._abandon()


class LoopThread(CrossedLoop):
    """An event loop in a daemon thread, so that a forgotten close never hangs the interpreter's exit.

    It knows nothing of the portal: once that is dropped, the thread can end.
    """

    def __init__(self, close: Callable[[], Awaitable[object]]) -> None:
        """`close` closes what was left open on the loop."""
        super().__init__()
        self._close = close
        self._over: Future[None] = Future()
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.loop = (
            self._runner.get_loop()
        )  # created here, where the caller gets the error if there are no more descriptors
        self._thread = threading.Thread(target=self._run, name="limpet", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter is exiting
            self.loop.close()
            raise
        self.ident = self._thread.ident

    def stop(self) -> None:
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._stop)

    def forget(self) -> None:
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._forget)

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    async def over(self) -> None:
        await asyncio.wrap_future(self._over)

    def _run(self) -> None:
        with self._runner:  # at the end, this cancels the remaining tasks
            while True:
                try:
                    self.loop.run_forever()
                except (KeyboardInterrupt, SystemExit):  # raised by a caller's function: the caller gets it
                    if not self._is_ending:
                        continue
                break
        self._abandon()  # calls that arrived after the loop had stopped
        self._over.set_result(None)

    def _stop(self) -> None:
        self._is_ending = True
        self.loop.stop()

    def _forget(self) -> None:
        self._pending.clear()  # only daemon threads still wait, and they end with the interpreter
        self.loop.set_exception_handler(lambda _loop, _context: None)  # nobody is left to report to
        closing = self.loop.create_task(self._closed())
        closing.add_done_callback(lambda _: self._stop())

    async def _closed(self) -> None:
        with suppress(LimpetError, OSError, RuntimeError, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._close()
