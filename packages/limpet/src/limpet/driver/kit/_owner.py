"""Who may use what was opened: the event loop and the process that opened it."""

from __future__ import annotations

import asyncio
import os

from ..._errors import ForeignLoopError, ForkedError

__all__ = ["Owner"]


class Owner:
    """The event loop and the process in which this was made."""

    __slots__ = ("_loop", "_process")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()

    def check(self, what: str) -> None:
        """Raise `ForkedError` in a child process, and `ForeignLoopError` on another event loop."""
        if self._process != os.getpid():
            raise ForkedError(
                f"{what} was opened in process {self._process} before a fork: open a new one in each child process"
            )
        if self._loop is not asyncio.get_running_loop():
            raise ForeignLoopError(f"{what} was opened on another event loop: open one per event loop")

    @property
    def is_forked(self) -> bool:
        """Whether this process is a child of the one that opened it."""
        return self._process != os.getpid()
