"""Run something to its end even if the waiting task is cancelled, once or repeatedly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["run_to_end", "take"]

R = TypeVar("R")


async def run_to_end(work: Coroutine[Any, Any, R]) -> R:
    """Await `work` in a separate task. Cancellation, even repeated, is raised only when that is done.

    anyio, and so every server built on it, cancels again at each await: a shield alone ends at the second one.
    """
    task = asyncio.create_task(work)
    cancelled = await _wait(task)
    if cancelled is not None:
        raise cancelled
    return task.result()


async def take(work: Coroutine[Any, Any, R], give_back: Callable[[R], Awaitable[object]]) -> R:
    """Like `run_to_end`, but the result is given back if the caller was cancelled and will not use it.

    Errors of giving back are dropped, because what was taken expires.
    """
    task = asyncio.create_task(work)
    cancelled = await _wait(task)
    if cancelled is None:
        return task.result()
    if not task.cancelled() and task.exception() is None:

        async def undo() -> None:
            await give_back(task.result())

        await _wait(asyncio.create_task(undo()))
    raise cancelled


async def _wait(task: asyncio.Task[Any]) -> asyncio.CancelledError | None:
    """Return when the task is done: the first cancellation that arrived meanwhile, if any."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None and not task.cancelled():
        task.exception()  # somebody has looked at it
    return cancelled
