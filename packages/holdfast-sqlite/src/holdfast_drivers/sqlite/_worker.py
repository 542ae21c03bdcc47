"""A thread with a list of things to do, one after the other; the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, Generic, TypeAlias, TypeVar

from holdfast import UnavailableError

from ._queue import Queue

__all__ = ["Worker"]

T = TypeVar("T")


class _State:
    """What the event loop may know of the thread."""

    __slots__ = ("waiting_since",)

    def __init__(self) -> None:
        self.waiting_since: float | None = None


class _Job(Generic[T]):
    """Something to do. Either it begins or it is called off: whoever claims it first decides."""

    __slots__ = ("_claimed", "act", "future", "loop", "queue", "timer")

    def __init__(self, act: Callable[[], T], queue: Queue | None, loop: asyncio.AbstractEventLoop) -> None:
        self.act = act
        self.queue = queue
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
        self._claimed = Lock()

    def claim(self) -> bool:
        return self._claimed.acquire(blocking=False)

    def too_late(self, message: str) -> None:
        if self.claim() and not self.future.done():
            self.future.set_exception(UnavailableError(message))

    def work(self, state: _State) -> None:
        try:
            if self.queue is None:
                if self.claim():
                    self.tell(self.future.set_result, self.act())
                return
            state.waiting_since = monotonic()
            try:
                self.queue.enter()
            finally:
                state.waiting_since = None
            try:
                if not self.claim():
                    return
                result = self.act()
            finally:
                self.queue.leave()
            self.tell(self.future.set_result, result)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            self.tell(self.future.set_exception, error)

    def tell(self, settle: Callable[[Any], None], outcome: object) -> None:
        def deliver() -> None:
            if not self.future.done():
                settle(outcome)

        try:
            self.loop.call_soon_threadsafe(deliver)
        except RuntimeError:
            if not self.loop.is_closed():  # else nobody is there any more to hear of it
                raise


_Jobs: TypeAlias = "SimpleQueue[_Job[Any] | None]"


class Worker:
    """One thread. It is a daemon, so a driver that nobody closed never keeps the interpreter from its exit."""

    def __init__(self, name: str) -> None:
        self._jobs: _Jobs = SimpleQueue()
        self._state = _State()
        self.thread = Thread(target=_work, args=(self._jobs, self._state), name=name, daemon=True)
        self.thread.start()

    async def run(
        self, act: Callable[[], T], *, queue: Queue | None = None, timeout: float | None = None, late: str = ""
    ) -> T:
        """Do it in the thread, in its turn, and answer what it answers.

        With a `queue` the thread enters it first. Where the thread stands in that queue for `timeout` seconds, what
        has not begun is called off and raises `UnavailableError(late)`; what has not begun when the caller is
        cancelled is called off as well. Neither is ever done later.
        """
        loop = asyncio.get_running_loop()
        job = _Job(act, queue, loop)
        self._jobs.put(job)
        if timeout is not None:
            job.timer = loop.call_later(timeout, self._look_at_the_clock, job, timeout, late)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.claim()
            raise
        finally:
            if job.timer is not None:
                job.timer.cancel()

    def _look_at_the_clock(self, job: _Job[Any], timeout: float, late: str) -> None:
        """Own work ahead of a job is no reason to give it up: only standing in the queue counts."""
        since = self._state.waiting_since
        left = timeout if since is None else timeout - (monotonic() - since)
        if left > 0:
            job.timer = job.loop.call_later(left, self._look_at_the_clock, job, timeout, late)
        else:
            job.too_late(late)

    def stop(self) -> None:
        """End the thread after what it has to do; take nothing more."""
        self._jobs.put(None)


def _work(jobs: _Jobs, state: _State) -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        job.work(state)
        del job  # a finished job would keep its caller's data alive until the next one
