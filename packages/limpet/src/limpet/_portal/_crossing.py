"""One call that crosses to another event loop: started there, cancelled from here, its outcome handed back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from .._caller import Caller, CrossedCall
from .._errors import ClosedError

__all__ = ["Crossing"]

R = TypeVar("R")


class Crossing(Generic[R]):
    """`start` and `cancel` run on the loop that the call goes to; the rest is for who made the call, after `notify`.

    As with a call on one loop, a cancellation comes at the first `await` that waits, and not before: what leaves a block
    always begins.
    """

    __slots__ = ("_call", "_crossed", "_has_begun", "_is_cancelled", "_task", "notify")

    def __init__(
        self, call: Callable[[], Coroutine[Any, Any, R]], caller: Caller, notify: Callable[[], object]
    ) -> None:
        """`notify` is called once, when there is an outcome, in whatever thread ends the call. It must not raise."""
        self._call = call
        self._crossed = CrossedCall(caller)
        self._has_begun = False
        self._is_cancelled = False
        self._task: asyncio.Task[R] | None = None
        self.notify = notify

    def start(self) -> asyncio.Task[R]:
        """Run the call in a task, in a copy of the caller's context."""
        self._crossed.set()
        task = self._task = self._crossed.task = asyncio.get_running_loop().create_task(self._run())
        return task

    def cancel(self) -> None:
        """Cancel the call; it may end otherwise."""
        self._is_cancelled = True
        if self._task is not None and self._has_begun:
            self._task.cancel()

    async def _run(self) -> R:
        self._has_begun = True
        if self._is_cancelled and self._task is not None:
            self._task.cancel()
        return await self._call()

    @property
    def succeeded(self) -> bool:
        """Whether it returned something."""
        task = self._task
        return task is not None and task.done() and not task.cancelled() and task.exception() is None

    def result(self) -> R:
        """What the call returned, once, or raise what it raised; `ClosedError` where its loop ended first."""
        task, self._task, self._crossed.task = self._task, None, None  # or the error would hold the task that holds it
        if task is None or not task.done() or task.cancelled():
            raise ClosedError("closed while this call was under way: open a new one")
        return task.result()
