"""Running something to its end even if the task that waits for it is cancelled, once or repeatedly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["run_to_end", "take"]

R = TypeVar("R")


async def run_to_end(work: Coroutine[Any, Any, R]) -> R:
    """Await `work` in a task of its own. A cancellation, however often it comes, is raised once that is done.

    anyio, and so every server built on it, cancels again at each await: a shield alone ends at the second one.
    """
    task = asyncio.create_task(work)
    cancelled = await _wait(task)
    if cancelled is not None:
        raise cancelled
    return task.result()


async def take(work: Coroutine[Any, Any, R], give_back: Callable[[R], Awaitable[object]]) -> R:
    """As `run_to_end`; what came of it is given back where the caller was cancelled and will not use it.

    An error of giving back is dropped: what was taken ends by itself.
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
    """Return when the task is done: the first cancellation that came meanwhile, if one did."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None and not task.cancelled():
        task.exception()  # somebody has looked at it
    return cancelled
