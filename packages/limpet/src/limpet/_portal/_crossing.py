"""One call to another event loop: it is started there, can be cancelled from here, and returns its outcome."""

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

    __slots__ = ("_call", "_crossed", "_error", "_found", "_has_begun", "_is_cancelled", "_task", "notify")

    def __init__(
        self, call: Callable[[], Coroutine[Any, Any, R]], caller: Caller, notify: Callable[[], object]
    ) -> None:
        """`notify` is called once, when there is an outcome, in whatever thread ends the call. It must not raise."""
        self._call = call
        self._crossed = CrossedCall(caller)
        self._has_begun = False
        self._is_cancelled = False
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._found: tuple[R] | None = None
        self.notify = notify

    def start(self, ended: Callable[[Crossing[R]], None]) -> None:
        """Run the call in a task, in a copy of the caller's context. `ended` is called once there is an outcome."""
        self._crossed.set()
        self._task = self._crossed.task = asyncio.get_running_loop().create_task(self._run(ended))

    def cancel(self) -> None:
        """Cancel the call. It may still return or raise."""
        self._is_cancelled = True
        if self._task is not None and self._has_begun:
            self._task.cancel()

    async def _run(self, ended: Callable[[Crossing[R]], None]) -> None:
        self._has_begun = True
        if self._is_cancelled and self._task is not None:
            self._task.cancel()
        try:
            self._found = (await self._call(),)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self._error = error
        self._task = self._crossed.task = None
        ended(self)  # now: a callback of the task would run one iteration of the loop later

    @property
    def succeeded(self) -> bool:
        """Whether the call returned."""
        return self._found is not None

    def result(self) -> R:
        """Return what the call returned, or raise what it raised; `ClosedError` if its loop ended first."""
        if self._found is not None:
            return self._found[0]
        error, self._error = self._error, None
        if error is None or isinstance(error, asyncio.CancelledError):
            raise ClosedError("closed while this call was under way: open a new one")
        try:
            raise error
        finally:
            del error  # otherwise its traceback and this frame would keep each other alive
