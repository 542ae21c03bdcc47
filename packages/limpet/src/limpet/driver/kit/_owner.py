"""Who may use an open driver: the event loop and the process that opened it."""

from __future__ import annotations

import asyncio
import os

from ..._errors import ForeignLoopError
from ._forks import check_process, forked_since

__all__ = ["Owner"]


class Owner:
    """The event loop and the process in which this was created.

    Every call compares `here` with its own loop and process inline, because a function call would cost as much as the
    rest.
    """

    __slots__ = ("here",)

    def __init__(self) -> None:
        self.here: tuple[asyncio.AbstractEventLoop, int] = (asyncio.get_running_loop(), os.getpid())

    def check(self, what: str) -> None:
        """Raise `ForkedError` in a child process, and `ForeignLoopError` on another event loop."""
        loop, process = self.here
        check_process(process, what)
        if loop is not asyncio.get_running_loop():
            raise ForeignLoopError(f"{what} was opened on another event loop: open one per event loop")

    @property
    def is_forked(self) -> bool:
        """Return whether this process is a child of the one that opened it."""
        return forked_since(self.here[1])
