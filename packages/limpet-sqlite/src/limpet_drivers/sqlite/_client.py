"""The connections: one that writes and one that reads, each with its own thread."""

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

from limpet import ConfigurationError, LimpetError, ReadOnlyError, UnavailableError
from limpet.driver.kit import FileLock, Inherited, Worker

from ._errors import of_sqlite, of_system
from ._layout import MIGRATIONS, identify, migrate
from ._options import Options
from ._place import Snapshot, check_version, connect, guarded, prepare, unusable

__all__ = ["Client"]

T = TypeVar("T")

_CACHE_KIB = 16 * 1024
_WAL_BYTES = 64 * 1024 * 1024
"""After a burst of writes, the log file is truncated to this size."""
_TURN_SECONDS = 0.002
"""How long a process that keeps writing excludes the others: switching after every write is expensive."""
_LINGER_SECONDS = 0.0003
"""How long a process with nothing to write keeps its turn."""
_CLOSE_SECONDS = 1.0
_LOOK_SECONDS = 0.1
"""How long a reader may continue with a removed file."""


class Client(Inherited):
    """One open database. An in-memory database has one connection for reading and writing.

    SQLite counts, for each file, the locks that its process holds, and after a fork counts the parent's: connections to
    the same file in the child would hold none and not know it. So a fork waits until no call is inside SQLite, and the
    child closes what it inherited, which resets the count. If a call does not end, the child refuses the file.
    """

    def __init__(self, options: Options, *, only_reads: bool = False) -> None:
        self.options = options
        self._only_reads = only_reads
        self._snapshot: Snapshot | None = None
        self.place = "the database in memory" if options.path is None else f"the database {options.path}"
        self._writing: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._lock: FileLock | None = None
        self._locked_out_since: float | None = None
        self._turn_ends = 0.0  # by the monotonic clock; 0: not our turn
        self._wrote = False
        self._identity: tuple[int, int] | None = None
        self._look_again = 0.0
        self._forked = False
        self._inside: set[threading.Lock] = set()
        """A lock for each thread that calls SQLite, held during calls."""
        self._writer_inside, self._reader_inside = self._gate(), self._gate()
        self._stopped: list[threading.Lock] = []
        """The locks that a fork holds."""
        self._writer = Worker("limpet-sqlite writer", idle=self._idle)
        self._reader = self._writer
        self.inherited()

    async def open(self) -> None:
        """Connect, and create the folder, the file and the tables if they are missing."""
        path = self.options.path
        if path is None:
            await self._writer.run(self._guard(self._connect_memory, self._writer_inside))
            return
        if self._only_reads:
            snapshot = self._snapshot = Snapshot(path, self.place, self.options.timeout)
            self._reader = Worker("limpet-sqlite reader")
            await self._reader.run(self._guard(snapshot.open, self._reader_inside))
            return
        await self._writer.run(
            self._guard(lambda: prepare(path, self.place, self.options.timeout), self._writer_inside)
        )
        self._lock = FileLock(f"{path}-lock", timeout=self.options.timeout)
        await self._in_turn(lambda: self._connect_writer(path))
        self._reader = Worker("limpet-sqlite reader")
        await self._reader.run(self._guard(lambda: self._connect_reader(path), self._reader_inside))

    async def read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on the reading connection."""

        def run() -> T:
            if self._snapshot is not None:
                return self._snapshot.read(act)
            assert self._reading is not None
            now = monotonic()
            if now >= self._look_again:  # checking costs a twentieth of a short read; every write checks
                self._in_place(self._reading)
                self._look_again = now + _LOOK_SECONDS
            return act(self._reading)

        return await self._reader.run(self._guard(run, self._reader_inside))

    async def write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on the writing connection, when no other process writes.

        Raises `UnavailableError` if other processes keep it from its turn for longer than the timeout. In that case,
        and if its caller is cancelled before its turn, it never runs.
        """
        if self._only_reads:
            raise ReadOnlyError(f"{self.place} was opened with read_only(): open it without read_only() to write")
        return await self._in_turn(lambda: act(self._in_place(self._writing)))

    async def aside(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on a separate connection and thread: for long reads."""
        path = self.options.path
        if path is None:
            return await self.write(act)
        if self._only_reads:
            return await self.read(act)

        def run() -> T:
            self._in_place(self._reading)
            with closing(connect(path, "ro", self.options.timeout)) as connection:
                return act(connection)

        worker = Worker("limpet-sqlite aside")
        inside = self._gate()
        try:
            return await worker.run(self._guard(run, inside))
        finally:
            worker.stop(lambda: self._inside.discard(inside))

    async def close(self) -> None:
        """Close the connections after their remaining work, and end the threads."""
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
        """Close without waiting, for a driver that was dropped without `close`."""
        if not self._forked:
            if self._reader is not self._writer:
                self._reader.stop(self._close_reader)
            self._writer.stop(self._close_writer)

    def before_fork(self, deadline: float) -> None:
        """Wait until no call is inside SQLite."""
        waiting = (inside for inside in list(self._inside))
        self._stopped = [inside for inside in waiting if inside.acquire(timeout=max(0, deadline - monotonic()))]

    def after_fork(self) -> None:
        """In the parent: continue."""
        for inside in self._stopped:
            inside.release()

    def forked(self) -> None:
        """In the child, where the threads are gone: nothing of this is used again."""
        self._forked = True
        opened = (self._reading, self._writing, None if self._snapshot is None else self._snapshot.connection)
        connections = [connection for connection in opened if connection is not None]
        if len(self._stopped) == len(self._inside):
            # The parent keeps its locks, which belong to its process, and they prevent the child from moving the log
            # away, which needs exclusive access to the file.
            with suppress(sqlite3.Error):
                for connection in connections:
                    connection.close()
                return
        if self._identity is not None:
            unusable.add(self._identity)
        for connection in connections:  # never to be closed: a thread that is gone holds its locks
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
        """How long a write may still wait. The time does not start again for each write behind the first."""
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
        """Nothing waits to be written. Keep the turn for a moment, because sequential writers soon ask again."""
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
        """Run `act` with Limpet's errors and no fork in the middle; one may happen while `first` waits."""

        def guarded() -> T:
            try:
                if first is not None:
                    first()
                with inside:
                    return act()
            except sqlite3.Error as error:
                raise of_sqlite(error, self.place) from error
            except LimpetError:  # some of Limpet's errors are OSErrors too
                raise
            except OSError as error:
                raise of_system(error, self.place) from error

        return guarded

    def _connect_memory(self) -> None:
        check_version()
        self._writing = self._reading = guarded(
            sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        )
        migrate(self._writing, self.place)

    def _connect_writer(self, path: Path) -> None:
        connection = connect(path, "rwc", self.options.timeout)
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
        connection.execute("PRAGMA fullfsync = ON")  # on macOS, a plain fsync leaves data in the disk's cache
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        found = path.stat()
        self._identity = (found.st_dev, found.st_ino)

    def _connect_reader(self, path: Path) -> None:
        self._reading = connect(path, "rw", self.options.timeout)
        self._reading.execute("PRAGMA query_only = ON")
        # Only writers move the log into the database, one at a time: two at once can meet SQLite's "WAL reset" bug,
        # which corrupts databases and was fixed in 3.51.3.
        self._reading.execute("PRAGMA wal_autocheckpoint = 0")
        self._reading.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")

    def _in_place(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        """The connection, as long as its file is in its place: writes to a removed file are lost."""
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
            if self._snapshot is not None:
                self._snapshot.close()
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
            # The last connection moves the log into the database when it closes: with exclusive access, if it can get
            # it.
            with self._lock.held(timeout=_CLOSE_SECONDS), self._writer_inside:
                self._writing.close()
        except OSError:  # too many wait, or the folder is gone; includes some of Limpet's errors
            with self._writer_inside:
                self._writing.close()
        finally:
            self._lock.close()
