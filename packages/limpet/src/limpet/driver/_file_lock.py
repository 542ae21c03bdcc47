"""A lock between processes, on a file: for drivers whose backend is a place on this machine's disk."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import uniform

from .._errors import UnavailableError

__all__ = ["FileLock"]

_SLOWEST_POLL = 0.02


class FileLock:
    """Exclusive or shared, held for the length of a `with` block; the system releases it when a process dies.

    Waiting is bounded: `UnavailableError` after `timeout` seconds, also while the holder is stopped. Whoever waits
    is served before whoever comes later, so nobody who releases and takes again keeps the others out. Where the
    system knows no shared lock on files (Windows), shared is exclusive. Not for two threads at once.
    Uses `path` and `path` + `.turn`, which are made when missing and stay; their folder must exist.
    """

    def __init__(self, path: str, *, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._held = _Handle(path)
        self._turn = _Handle(path + ".turn")

    @contextmanager
    def held(self, *, shared: bool = False, timeout: float | None = None) -> Iterator[None]:
        """Hold the lock. Raises `UnavailableError` when others keep it for longer than the timeout, or than this one."""
        self.acquire(shared=shared, timeout=timeout)
        try:
            yield
        finally:
            self.release()

    def acquire(self, *, shared: bool = False, timeout: float | None = None) -> None:
        """Take the lock; raises as `held` does."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        # Who waits for the lock keeps the turn meanwhile: a stream of readers, or a writer in a hurry, queues behind.
        self._take(self._turn, False, deadline)
        try:
            self._take(self._held, shared, deadline)
        finally:
            self._turn.release()

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        self._held.release()

    def close(self) -> None:
        """Give the file handles back."""
        self._held.close()
        self._turn.close()

    def _take(self, handle: _Handle, shared: bool, deadline: float) -> None:
        while handle.take(shared, deadline):
            if handle is self._turn or handle.is_current():  # without the turn only the order suffers
                return
            handle.close()  # somebody removed the file: what we hold excludes nobody
        raise UnavailableError(
            f"another process has kept {self._path} locked for {self._timeout:g} seconds: retry, and look whether "
            "a process that uses this place is stopped"
        )


class _Handle:
    """One file to lock, opened when first needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        self._identity: tuple[int, int] | None = None

    def take(self, shared: bool, deadline: float) -> bool:
        """Lock, or answer `False` at the deadline."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOINHERIT", 0), 0o666)
            opened = os.fstat(self._fd)
            self._identity = (opened.st_dev, opened.st_ino)
        if _try_lock(self._fd, shared):
            return True
        if _BLOCKING:
            return self._wait(self._fd, shared, deadline)
        pause = 0.001
        while time.monotonic() < deadline:
            time.sleep(uniform(0, pause))
            if _try_lock(self._fd, shared):
                return True
            pause = min(2 * pause, _SLOWEST_POLL)
        return False

    def _wait(self, fd: int, shared: bool, deadline: float) -> bool:
        # The system's own queue is fair and wakes at once, but cannot be told to stop: so a thread waits in it.
        waiter = _Waiter(fd, shared)
        if waiter.wait(deadline - time.monotonic()):
            return True
        self._fd = None  # the thread still holds it, and closes it when its turn comes
        return False

    def is_current(self) -> bool:
        """Whether the locked file still is the one at the path."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        return self._identity == (found.st_dev, found.st_ino)

    def release(self) -> None:
        if self._fd is not None:
            _unlock(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)  # closing unlocks
            self._fd = None


class _Waiter:
    """A thread that waits for a lock, for somebody who may give up."""

    def __init__(self, fd: int, shared: bool) -> None:
        self._fd = fd
        self._shared = shared
        self._mutex = threading.Lock()
        self._locked = threading.Event()
        self._given_up = False
        self._error: OSError | None = None
        threading.Thread(target=self._run, name="limpet-lock", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        self._locked.wait(max(0, seconds))
        with self._mutex:
            self._given_up = not self._locked.is_set()
        if self._error is not None:
            raise self._error
        return not self._given_up

    def _run(self) -> None:
        try:
            _lock(self._fd, self._shared)
        except OSError as error:
            self._error = error
        with self._mutex:
            if self._given_up:
                os.close(self._fd)
            else:
                self._locked.set()


if sys.platform == "win32":  # pragma: no cover - the workflow's Windows job runs this
    import msvcrt

    _BLOCKING = False

    def _try_lock(fd: int, shared: bool) -> bool:
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _lock(fd: int, shared: bool) -> None:
        raise NotImplementedError("Windows polls instead")

    def _unlock(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    _BLOCKING = True

    def _try_lock(fd: int, shared: bool) -> bool:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _lock(fd: int, shared: bool) -> None:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
