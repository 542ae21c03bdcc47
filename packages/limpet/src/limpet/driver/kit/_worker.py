"""One thread for work that would block the event loop: files, embedded engines, locks between processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

__all__ = ["Worker"]

T = TypeVar("T")


class _Job:
    __slots__ = ("abandoned", "function", "future", "loop")

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.abandoned = False


class Worker:
    """A thread that runs jobs one after the other, in order.

    It is a daemon: forgetting to close a driver never blocks the interpreter's exit. If a caller is cancelled before
    its turn, its job is dropped; if it is cancelled during the job, the job still finishes.
    """

    def __init__(self, name: str, *, idle: Callable[[], float | None] | None = None) -> None:
        """`idle` is called in the thread whenever there are no jobs. It must not raise.

        It returns the seconds until it should be called again, or `None` to wait for the next job.
        """
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._last: Callable[[], object] | None = None
        self._idle = idle
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` in the thread; return its result or raise its error."""
        job = _Job(function, asyncio.get_running_loop())
        self._jobs.put(job)
        try:
            result: T = await job.future
        except asyncio.CancelledError:
            job.abandoned = True
            raise
        return result

    def stop(self, last: Callable[[], object] | None = None) -> None:
        """End the thread after all submitted jobs and `last`. Does no I/O, and does not wait."""
        self._last = last
        self._jobs.put(None)

    def _loop(self) -> None:
        while True:
            job = self._next()
            if job is None:
                if self._last is not None:
                    self._last()
                return
            if not job.abandoned:
                _do(job)
            del job  # what a job references must not live until the next one

    def _next(self) -> _Job | None:
        while True:
            try:
                return self._jobs.get_nowait()
            except Empty:
                wait = None if self._idle is None else self._idle()
            try:
                return self._jobs.get(timeout=wait)
            except Empty:
                continue


def _do(job: _Job) -> None:
    result: Any = None
    error: BaseException | None = None
    try:
        result = job.function()
    except BaseException as raised:  # noqa: BLE001 - handed on whole: the caller raises it
        error = raised

    try:
        job.loop.call_soon_threadsafe(_settle, job.future, result, error)
    except RuntimeError:  # the caller's event loop was closed meanwhile, so no one waits for the result
        return


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
