"""Who makes a call: the task that runs it, or, of a call that came through a portal, the task or thread on the other side."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from threading import Thread
from typing import Any, TypeAlias

__all__ = ["Caller", "CrossedCall", "caller"]

Caller: TypeAlias = "asyncio.Task[Any] | Thread | None"


class CrossedCall:
    """A task that runs a call for a caller on another event loop, or in another thread."""

    __slots__ = ("caller", "task")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.task: asyncio.Task[Any] | None = None

    def set(self) -> None:
        """From now on, in this context, the task acts for another caller. Tasks that it starts act for themselves."""
        _crossed.set(self)


_crossed: ContextVar[CrossedCall | None] = ContextVar("limpet_crossed_call", default=None)


def caller() -> Caller:
    """Return the caller of the current task's call: the same for both ends of an `async with` block."""
    task = asyncio.current_task()
    crossed = _crossed.get()
    return crossed.caller if crossed is not None and crossed.task is task else task
