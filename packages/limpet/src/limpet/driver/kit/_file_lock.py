"""A lock between processes, on a file: for drivers that store data on this machine's disk.

The lock is `flock`, which belongs to the open file and not to the process: two drivers of one process exclude each
other, which POSIX record locks would not do. But a forked child shares its parent's open files, and would keep
the lock after the parent has died. So a child closes its copies before anything else runs in it, and the locks that it
acquires are on files that it opened itself.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import uniform

from ..._errors import ConfigurationError, UnavailableError
from ._new_files import give_to_owner, new_file_mode

__all__ = ["FileLock"]

_SLOWEST_POLL = 0.02
_SAFELY = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOINHERIT"))
_NO_LOCKS = {getattr(errno, name) for name in ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP") if hasattr(errno, name)}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}


class FileLock:
    """An exclusive or shared lock, held for a `with` block. The system releases it when the process dies.

    Waiting is limited: `UnavailableError` is raised after `timeout` seconds, even if the holder is stopped. Waiting
    processes are served in order, so one that releases the lock and acquires it again cannot starve the others. If the
    system has no shared file locks (Windows), shared means exclusive. Not for use by two threads at once. After a
    `fork`, the lock stays with the parent: the child holds nothing, and can acquire it like any other process.

    Uses `path` and `path` + `.turn`, which are created if missing and kept; their folder must exist. Raises
    `ConfigurationError` if one of them is a symbolic link, folder or device, or if the file system has no locks.
    """

    def __init__(
        self, path: str, *, timeout: float, folder: Callable[[], int] | None = None, create: bool = True
    ) -> None:
        """`folder` returns a descriptor of the folder of `path`, for callers that do not trust the folders above it.

        Without `create`, missing files raise `FileNotFoundError`, for callers that only read.
        """
        self._path = path
        self._timeout = timeout
        self._held = _Handle(path, folder, create)
        self._turn = _Handle(path + ".turn", folder, create)

    @contextmanager
    def held(self, *, shared: bool = False, timeout: float | None = None) -> Iterator[None]:
        """Hold the lock.

        Raises `UnavailableError` if it cannot be acquired within the timeout (default: the object's).
        """
        self.acquire(shared=shared, timeout=timeout)
        try:
            yield
        finally:
            self.release()

    def acquire(self, *, shared: bool = False, timeout: float | None = None) -> None:
        """Acquire the lock. Raises what `held` raises."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        try:
            # A process that waits for the lock keeps the turn meanwhile, so a stream of readers, or an eager writer,
            # queues behind it.
            self._take(self._turn, False, deadline)
            try:
                self._take(self._held, shared, deadline)
            finally:
                self._turn.release()
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise ConfigurationError(
                    f"the file system of {self._path} does not support locks between processes ({error.strerror}), and without "
                    "them two processes would corrupt each other's writes: use a folder on a local disk"
                ) from error
            raise

    def release(self) -> None:
        """Release the lock. Does nothing if it is not held."""
        self._held.release()

    def close(self) -> None:
        """Close the file handles."""
        self._held.close()
        self._turn.close()

    def _take(self, handle: _Handle, shared: bool, deadline: float) -> None:
        while handle.take(shared, deadline):
            if handle is self._turn or handle.is_current():  # without the turn, only the order suffers
                return
            handle.close()  # the file was removed, so this lock excludes no one
        raise UnavailableError(
            f"another process has kept {self._path} locked for {self._timeout:g} seconds: retry, and check whether "
            "a process that uses this database is stopped"
        )


class _Handle:
    """One file to lock, opened when it is first needed."""

    def __init__(self, path: str, folder: Callable[[], int] | None, create: bool) -> None:
        self._path = path
        self._create = create
        self._folder = folder
        self._name = path if folder is None else os.path.basename(path)
        self._opened: tuple[int, int] | None = None
        """The descriptor, and the process in which it was opened (see `_forks`)."""
        self._identity: tuple[int, int] | None = None

    def take(self, shared: bool, deadline: float) -> bool:
        """Lock the file, or return `False` at the deadline."""
        fd = self._fd
        if fd is None:
            fd = self._open()
        if _try_lock(fd, shared):
            return True
        if _BLOCKING:
            return self._wait(fd, shared, deadline)
        pause = 0.001
        while time.monotonic() < deadline:
            time.sleep(uniform(0, pause))
            if _try_lock(fd, shared):
                return True
            pause = min(2 * pause, _SLOWEST_POLL)
        return False

    def _wait(self, fd: int, shared: bool, deadline: float) -> bool:
        # The system's own queue is fair and wakes at once, but waiting in it cannot be stopped, so a thread waits.
        waiter = _Waiter(fd, shared)
        if waiter.wait(deadline - time.monotonic()):
            return True
        self._opened = None  # the thread still holds it, and closes it when it gets the lock
        return False

    @property
    def _fd(self) -> int | None:
        return self._opened[0] if self._opened is not None and self._opened[1] == _forks else None

    def _open(self) -> int:
        folder = None if self._folder is None else self._folder()
        with _forking:
            fd = _open_plain(self._name, folder, self._path, self._create)
            _descriptors.add(fd)
        self._opened = (fd, _forks)
        opened = os.fstat(fd)
        self._identity = (opened.st_dev, opened.st_ino)
        return fd

    def is_current(self) -> bool:
        """Return whether the locked file is still the one at the path."""
        try:
            folder = None if self._folder is None else self._folder()
            found = os.stat(self._name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return self._identity == (found.st_dev, found.st_ino)

    def release(self) -> None:
        fd = self._fd
        if fd is not None:
            _unlock(fd)

    def close(self) -> None:
        fd = self._fd
        if fd is not None:
            _unlock(fd)  # closing would not unlock while a child that was not forked by Python has the file open
            _close(fd)
        self._opened = None


class _Waiter:
    """A thread that waits for a lock on behalf of a caller that may give up."""

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
                _close(self._fd)
            else:
                self._locked.set()


def _open_plain(name: str, folder: int | None, path: str, create: bool) -> int:
    """Return a descriptor of a regular file, created if missing. Never opens anything else or follows a link."""
    while True:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            if not create:
                raise
            around = os.stat(os.path.dirname(path) or ".") if folder is None else os.fstat(folder)
            try:
                fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY, new_file_mode(around), dir_fd=folder)
            except FileExistsError:
                continue
            give_to_owner(fd, around)
            return fd
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(
                f"{path} must be a regular file, but is a link, a folder or a device: move it away"
            )
        try:
            return os.open(name, os.O_RDWR | _SAFELY, dir_fd=folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _NO_RIGHT:
                raise
            return os.open(name, os.O_RDONLY | _SAFELY, dir_fd=folder)  # sufficient for a lock on most file systems


def _close(fd: int) -> None:
    with _forking:
        _descriptors.discard(fd)
        os.close(fd)


_forks = 0
"""How many forks are between this process and the one that imported this module."""
_descriptors: set[int] = set()
_forking = threading.RLock()
"""Prevents forks while a descriptor is open and not yet in the set."""


def _in_child() -> None:
    global _forks
    _forks += 1
    for fd in _descriptors:
        os.close(fd)
    _descriptors.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_in_child)


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
