"""Who makes a call: the task that runs it, or, of a call that came through a portal, the task or thread on the other side."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from threading import Thread
from typing import Any, TypeAlias

__all__ = ["Caller", "CrossedCall", "caller"]

Caller: TypeAlias = "asyncio.Task[Any] | Thread | None"


class CrossedCall:
    """A task that runs a call for somebody on another event loop, or in another thread."""

    __slots__ = ("caller", "task")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.task: asyncio.Task[Any] | None = None

    def set(self) -> None:
        """From here on, in this context, the task is somebody else's. The tasks that it starts are their own."""
        _crossed.set(self)


_crossed: ContextVar[CrossedCall | None] = ContextVar("limpet_crossed_call", default=None)


def caller() -> Caller:
    """Whoever makes the call that the current task runs: the same one for both ends of an `async with` block."""
    task = asyncio.current_task()
    crossed = _crossed.get()
    return crossed.caller if crossed is not None and crossed.task is task else task
