"""The queue in which the processes that want to write to one file stand.

SQLite's own waiting is a sleep and another try, which gives one process everything and another nothing. Here they
sleep in the kernel and are woken in the order in which they came. Nobody's data depends on it: SQLite's own locks
still stand behind.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic, sleep

__all__ = ["Queue"]

_POLL = 0.005

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        while not _try_lock(file):
            sleep(_POLL)

    def _try_lock(file: int) -> bool:
        os.lseek(file, 0, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


class Queue:
    """A lock between processes, and between the drivers of one, on two files beside the database.

    Whoever holds the first file is next and waits for the second; whoever holds the second writes. With one file
    alone, a process that has just written could lock it again before the one that it woke.
    """

    def __init__(self, database: Path) -> None:
        """Make the two files where they are missing. Raises `OSError`."""
        # Nobody deletes these files: a process that still holds one would queue apart from all others.
        flags = os.O_CREAT | (os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
        self._next = os.open(f"{database}-queue", flags, 0o666)
        try:
            self._writing = os.open(f"{database}-lock", flags, 0o666)
        except OSError:
            os.close(self._next)
            raise

    def enter(self) -> None:
        """Wait until it is this one's turn, for ever if need be: call it in a thread that may wait."""
        _lock(self._next)
        try:
            _lock(self._writing)
        finally:
            _unlock(self._next)

    def try_enter(self, seconds: float) -> bool:
        """Like `enter`, but give up after a while; out of order, so only for what is not urgent."""
        until = monotonic() + seconds
        while not _try_lock(self._writing):
            if monotonic() >= until:
                return False
            sleep(_POLL)
        return True

    def leave(self) -> None:
        """Let the next one in."""
        _unlock(self._writing)

    def close(self) -> None:
        """Leave, if need be, and close the files."""
        os.close(self._writing)
        os.close(self._next)
