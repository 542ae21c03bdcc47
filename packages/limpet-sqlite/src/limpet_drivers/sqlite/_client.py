"""The connections: one that writes and one that reads, each with a thread of its own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import TypeVar

from limpet import ConfigurationError, CorruptDataError, ForkedError, LimpetError, UnavailableError
from limpet.driver.kit import FileLock, Inherited, Worker

from ._errors import of_sqlite, of_system
from ._layout import MIGRATIONS, identify, migrate
from ._options import Options

__all__ = ["Client"]

T = TypeVar("T")

_OLDEST = (3, 35, 0)
"""RETURNING came with 3.35."""
_SMALLEST = 512
"""SQLite takes whatever is shorter than a page for an empty database, and writes over it."""
_CACHE_KIB = 16 * 1024
_WAL_BYTES = 64 * 1024 * 1024
"""What the file of a burst of writes is cut back to."""
_TURN_SECONDS = 0.002
"""How long a process that keeps writing keeps the others out: taking turns after every write costs each a switch."""
_LINGER_SECONDS = 0.0003
"""How long one that has nothing to write does."""
_CLOSE_SECONDS = 1.0
_LOOK_SECONDS = 0.1
"""How long a reader may go on with a file that was removed."""


class Client(Inherited):
    """One database, open. In memory there is one connection, and it reads and writes.

    SQLite counts, for each file, the locks that its process holds, and after a fork counts the parent's: connections to
    the same file in the child would hold none and not know it. So a fork waits until no call is inside SQLite, and the
    child closes what it inherited, which forgets the count. Where a call does not end, the child refuses the file.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.place = "the database in memory" if options.path is None else f"the database {options.path}"
        self._writing: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._lock: FileLock | None = None
        self._locked_out_since: float | None = None
        self._turn_ends = 0.0  # by the monotonic clock; 0: it is not ours
        self._wrote = False
        self._identity: tuple[int, int] | None = None
        self._look_again = 0.0
        self._forked = False
        self._inside: set[threading.Lock] = set()
        """A lock for each thread that calls SQLite, held meanwhile."""
        self._writer_inside, self._reader_inside = self._gate(), self._gate()
        self._stopped: list[threading.Lock] = []
        """Those that a fork holds."""
        self._writer = Worker("limpet-sqlite writer", idle=self._idle)
        self._reader = self._writer
        self.inherited()

    async def open(self) -> None:
        """Connect; make the folder, the file and the tables where they are missing."""
        path = self.options.path
        if path is None:
            await self._writer.run(self._guard(self._connect_memory, self._writer_inside))
            return
        await self._writer.run(
            self._guard(lambda: _prepare(path, self.place, self.options.timeout), self._writer_inside)
        )
        self._lock = FileLock(f"{path}-lock", timeout=self.options.timeout)
        await self._in_turn(lambda: self._connect_writer(path))
        self._reader = Worker("limpet-sqlite reader")
        await self._reader.run(self._guard(lambda: self._connect_reader(path), self._reader_inside))

    async def read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run it on the connection that reads."""

        def run() -> T:
            assert self._reading is not None
            now = monotonic()
            if now >= self._look_again:  # a look costs a twentieth of a short read; every write takes one
                self._in_place(self._reading)
                self._look_again = now + _LOOK_SECONDS
            return act(self._reading)

        return await self._reader.run(self._guard(run, self._reader_inside))

    async def write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run it on the connection that writes, when no other process writes.

        Raises `UnavailableError` when others keep it from its turn for longer than the timeout. Then, and when its
        caller is cancelled before its turn, it never runs.
        """
        return await self._in_turn(lambda: act(self._in_place(self._writing)))

    async def aside(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run it on a connection and in a thread of its own: for what takes long and only reads."""
        path = self.options.path
        if path is None:
            return await self.write(act)

        def run() -> T:
            self._in_place(self._reading)
            with closing(_connect(path, "ro", self.options.timeout)) as connection:
                return act(connection)

        worker = Worker("limpet-sqlite aside")
        inside = self._gate()
        try:
            return await worker.run(self._guard(run, inside))
        finally:
            worker.stop(lambda: self._inside.discard(inside))

    async def close(self) -> None:
        """Close the connections after what they still have to do, and end the threads."""
        try:
            if self._reader is not self._writer:
                try:
                    await self._reader.run(self._close_reader)
                finally:
                    self._reader.stop()
            await self._writer.run(self._close_writer)
        finally:
            self._writer.stop()

    def forget(self) -> None:
        """Close without waiting: for a driver that was dropped without `close`."""
        if not self._forked:
            if self._reader is not self._writer:
                self._reader.stop(self._close_reader)
            self._writer.stop(self._close_writer)

    def before_fork(self, deadline: float) -> None:
        """Let nobody be inside SQLite."""
        waiting = (inside for inside in list(self._inside))
        self._stopped = [inside for inside in waiting if inside.acquire(timeout=max(0, deadline - monotonic()))]

    def after_fork(self) -> None:
        """In the parent: go on."""
        for inside in self._stopped:
            inside.release()

    def forked(self) -> None:
        """In the child, where the threads are gone: nothing of this is used again."""
        self._forked = True
        connections = [connection for connection in (self._reading, self._writing) if connection is not None]
        if len(self._stopped) == len(self._inside):
            # The parent keeps its locks, which are its process's, and they keep this from moving the log away: that
            # takes the file for oneself alone.
            with suppress(sqlite3.Error):
                for connection in connections:
                    connection.close()
                return
        if self._identity is not None:
            _unusable.add(self._identity)
        for connection in connections:  # to be closed by nobody: a thread that is gone holds its locks
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    async def _in_turn(self, act: Callable[[], T]) -> T:
        if self._lock is None:
            return await self._writer.run(self._guard(act, self._writer_inside))
        lock = self._lock
        asked = monotonic()
        called_off = False

        def take_turn() -> None:
            self._take_turn(lock, asked)
            if called_off:
                raise asyncio.CancelledError

        try:
            return await self._writer.run(self._guard(act, self._writer_inside, take_turn))
        except asyncio.CancelledError:
            called_off = True
            raise

    def _patience(self, asked: float) -> float:
        """How long a write may still wait: it does not begin anew for each of those that stood behind the first."""
        now = monotonic()
        if self._locked_out_since is None:
            self._locked_out_since = now
        return max(0.0, max(asked, self._locked_out_since) + self.options.timeout - now)

    # In the threads.

    def _take_turn(self, lock: FileLock, asked: float) -> None:
        self._wrote = True
        if monotonic() < self._turn_ends:
            return
        self._give_turn(lock)
        lock.acquire(timeout=self._patience(asked))
        self._locked_out_since = None
        self._turn_ends = monotonic() + _TURN_SECONDS

    def _give_turn(self, lock: FileLock) -> None:
        self._turn_ends = 0.0
        lock.release()

    def _idle(self) -> float | None:
        """Nothing waits to be written: keep the turn for a moment, for who writes one after the other asks again soon."""
        if self._lock is None or not self._turn_ends:
            return None
        if self._wrote and monotonic() < self._turn_ends:
            self._wrote = False
            return _LINGER_SECONDS
        self._give_turn(self._lock)
        return None

    def _gate(self) -> threading.Lock:
        inside = threading.Lock()
        self._inside.add(inside)
        return inside

    def _guard(
        self, act: Callable[[], T], inside: threading.Lock, first: Callable[[], None] | None = None
    ) -> Callable[[], T]:
        """`act`, with errors of ours, and no fork in the middle; there may be one while `first` waits for its turn."""

        def guarded() -> T:
            try:
                if first is not None:
                    first()
                with inside:
                    return act()
            except sqlite3.Error as error:
                raise of_sqlite(error, self.place) from error
            except LimpetError:  # some of ours are OSErrors as well
                raise
            except OSError as error:
                raise of_system(error, self.place) from error

        return guarded

    def _connect_memory(self) -> None:
        _check_version()
        self._writing = self._reading = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        migrate(self._writing, self.place)

    def _connect_writer(self, path: Path) -> None:
        connection = _connect(path, "rwc", self.options.timeout)
        self._writing = connection
        version = identify(connection, self.place)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise ConfigurationError(
                f"{self.place} cannot be shared (journal mode {mode!r} and not 'wal'): its file system lacks shared "
                "memory or locks. Put it on a local disk"
            )
        if version < len(MIGRATIONS):
            migrate(connection, self.place)
        connection.execute(f"PRAGMA synchronous = {'FULL' if self.options.durability == 'disk' else 'NORMAL'}")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync leaves data in the disk's cache
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        found = path.stat()
        self._identity = (found.st_dev, found.st_ino)

    def _connect_reader(self, path: Path) -> None:
        self._reading = _connect(path, "rw", self.options.timeout)
        self._reading.execute("PRAGMA query_only = ON")
        # Only writers move the log into the database, one at a time: two at once may meet SQLite's "WAL reset" bug,
        # which corrupts a database and which 3.51.3 mended.
        self._reading.execute("PRAGMA wal_autocheckpoint = 0")
        self._reading.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")

    def _in_place(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        """The connection, while its file is where it was: what is written to a removed file is lost."""
        assert connection is not None
        if self._identity is not None:
            assert self.options.path is not None
            try:
                found = os.stat(self.options.path)
            except FileNotFoundError:
                found = None
            if found is None or (found.st_dev, found.st_ino) != self._identity:
                raise UnavailableError(
                    f"{self.place} was removed or replaced while it was open: nothing was written; open it again"
                )
        return connection

    def _close_reader(self) -> None:
        with self._reader_inside:
            if self._reading is not None:
                self._reading.close()

    def _close_writer(self) -> None:
        if self._writing is None:
            return
        if self._lock is None:
            with self._writer_inside:
                self._writing.close()
            return
        self._give_turn(self._lock)
        try:
            # The last connection moves the log into the database as it closes: alone, where that can be had.
            with self._lock.held(timeout=_CLOSE_SECONDS), self._writer_inside:
                self._writing.close()
        except OSError:  # too many wait, or the folder is gone; one of ours is an OSError too
            with self._writer_inside:
                self._writing.close()
        finally:
            self._lock.close()


_unusable: set[tuple[int, int]] = set()
"""Files, by device and number, of which SQLite believes in this child of a fork what is true of the parent."""


def _check_version() -> None:
    if sqlite3.sqlite_version_info < _OLDEST:
        needs = ".".join(map(str, _OLDEST))
        raise ConfigurationError(
            f"this Python brings SQLite {sqlite3.sqlite_version}; the driver needs {needs}: use a newer Python"
        )


def _connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=timeout
    )
    connection.execute("PRAGMA trusted_schema = OFF")  # whoever gives us a file does not give us functions to run
    return connection


def _prepare(path: Path, place: str, timeout: float) -> None:
    """Make the folder and refuse a file that is not ours, without touching it."""
    _check_version()
    _make_folder(path.parent)
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder: name a file in it, like {path / 'agent.db'}")
    size = 0
    if path.exists():
        found = path.stat()
        size = found.st_size
        if (found.st_dev, found.st_ino) in _unusable:
            raise ForkedError(
                f"this process was forked in the middle of a long call to {place}, and SQLite cannot be used on that "
                "file here any more: fork while nothing is under way, or start processes with 'spawn'"
            )
    if 0 < size < _SMALLEST:
        raise CorruptDataError(f"{place} is not a SQLite database. It was left unchanged: choose another file")
    if size:
        # Opened as something that nobody changes, a file is read without locks, journals or any trace. Where there
        # is a log, the tables may be in there, and only an ordinary reading connection sees them.
        log = Path(f"{path}-wal")
        mode = "ro" if log.exists() and log.stat().st_size > 0 else "ro&immutable=1"
        with closing(_connect(path, mode, timeout)) as connection:
            identify(connection, place)


def _make_folder(folder: Path) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "posix":
        for place in missing:  # a new folder is on disk when its parent is
            entries = os.open(place.parent, os.O_RDONLY)
            try:
                os.fsync(entries)
            finally:
                os.close(entries)
