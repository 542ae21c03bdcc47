"""The files of a database: what is created and checked before SQLite opens them, and opening them read-only.

A file may come from someone else. SQLite is configured so that nothing in it runs, and the files next to it must be
regular files: SQLite would wait for a pipe, and delete whatever a journal names as another database's journal.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from limpet import ConfigurationError, CorruptDataError, ForkedError, NotFoundError, UnavailableError
from limpet.driver.kit import give_to_owner, new_file_mode

from ._layout import identify

__all__ = ["Snapshot", "check_version", "connect", "guarded", "prepare", "unusable"]

T = TypeVar("T")

_OLDEST = (3, 35, 0)
"""RETURNING was added in 3.35."""
_SMALLEST = 512
"""SQLite takes anything shorter than a page for an empty database, and overwrites it."""
_BESIDE = ("-wal", "-shm", "-journal")
_JOURNAL_ENDS = bytes.fromhex("d9d505f920a163d7")
"""How a journal ends that names another one."""
_LONGEST_VALUE = 256 * 1024 * 1024
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: _LONGEST_VALUE,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
}
_TRIES = 100

unusable: set[tuple[int, int]] = set()
"""Files, by device and number, for which SQLite in this forked child still has the parent's state."""


def check_version() -> None:
    """Refuse a SQLite version that is too old."""
    if sqlite3.sqlite_version_info < _OLDEST:
        needs = ".".join(map(str, _OLDEST))
        raise ConfigurationError(
            f"this Python includes SQLite {sqlite3.sqlite_version}, but the driver needs {needs}: use a newer Python"
        )


def guarded(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return the connection, set to run nothing from the file: no views, triggers, or functions with effects."""
    connection.execute("PRAGMA trusted_schema = OFF")
    for limit, most in _LIMITS.items():
        connection.setlimit(limit, most)
    connection.set_authorizer(_allowed)
    return connection


def _allowed(action: int, one: str | None, other: str | None, database: str | None, within: str | None) -> int:
    """Called when a statement is prepared. `within` is the view or trigger that requires the action."""
    return sqlite3.SQLITE_OK if within is None else sqlite3.SQLITE_DENY


def connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    """Return a restricted connection to a file; `mode` is that of SQLite's URIs."""
    return guarded(
        sqlite3.connect(
            f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=timeout
        )
    )


def prepare(path: Path, place: str, timeout: float) -> None:
    """Create the folder and the file. Refuse a file that is not ours, without changing it."""
    check_version()
    _make_folder(path.parent)
    size = _looked_at(path, place)
    if size is None:
        _make_file(path)
    elif size:
        # Opened as immutable, a file is read without locks, journals or any trace. If there is a log, the tables may be
        # in it, and only a normal reading connection sees them.
        log = Path(f"{path}-wal")
        mode = "ro" if log.exists() and log.stat().st_size > 0 else "ro&immutable=1"
        with closing(connect(path, mode, timeout)) as connection:
            identify(connection, place)


def _looked_at(path: Path, place: str) -> int | None:
    """Return the size of the file, or `None` if it is missing. Refuses what SQLite should not open."""
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    if found is not None:
        if stat.S_ISDIR(found.st_mode):
            raise ConfigurationError(f"{path} is a folder: name a file in it, like {path / 'agent.db'}")
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(
                f"{path} is a device or a pipe, but a database must be a regular file: choose another"
            )
        if (found.st_dev, found.st_ino) in unusable:
            raise ForkedError(
                f"this process was forked in the middle of a long call to {place}, so SQLite can no longer be used on that "
                "file in this process: fork when no call is under way, or start processes with 'spawn'"
            )
        if 0 < found.st_size < _SMALLEST:
            raise CorruptDataError(f"{place} is not a SQLite database. It was left unchanged: choose another file")
    for ending in _BESIDE:
        beside = Path(f"{os.path.realpath(path)}{ending}")
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(beside.lstat().st_mode):
                raise ConfigurationError(f"{beside} must be a regular file, but is a link or a device: move it away")
            if ending == "-journal":
                _check_journal(beside)
    return None if found is None else found.st_size


def _check_journal(path: Path) -> None:
    """After a crash, SQLite plays back the journal, and then deletes the journal that is named at its end."""
    with path.open("rb") as journal:
        size = journal.seek(0, os.SEEK_END)
        journal.seek(max(0, size - len(_JOURNAL_ENDS)))
        if journal.read() == _JOURNAL_ENDS:
            raise CorruptDataError(
                f"{path} was not written by Limpet: it names the journal of another database, which SQLite would delete. "
                "It was left unchanged: remove it, or choose another file"
            )


def _make_file(path: Path) -> None:
    """SQLite gives the files next to it the same mode and owner."""
    folder = os.stat(path.parent)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
    with suppress(FileExistsError):  # another process was faster
        fd = os.open(os.path.realpath(path), flags, new_file_mode(folder))
        try:
            give_to_owner(fd, folder)
        finally:
            os.close(fd)


def _make_folder(folder: Path) -> None:
    for place in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        around = os.stat(place.parent)
        place.mkdir(mode=0o700, exist_ok=True)
        if os.name == "posix":
            made = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                give_to_owner(made, around)
            finally:
                os.close(made)
            entries = os.open(place.parent, os.O_RDONLY)
            try:
                os.fsync(entries)  # a new folder is on disk once its parent is
            finally:
                os.close(entries)


class Snapshot:
    """A read-only database: nothing is created, not even next to the file, so the folder may be read-only.

    A file without a log is opened as immutable. Each read checks whether it still is.
    """

    def __init__(self, path: Path, place: str, timeout: float) -> None:
        self._path = path
        self._place = place
        self._timeout = timeout
        self._of: object = None
        self.connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect. Raises `NotFoundError` if there is no file."""
        check_version()
        self._connected()

    def read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on the current content."""
        for _ in range(_TRIES):
            before = self._found()
            try:
                result = act(self._connected())
            except sqlite3.Error:
                if self._found() == before:
                    raise
                continue  # someone wrote to what was opened as immutable
            if self._found() == before or self._log().exists():
                return result
        raise UnavailableError(f"{self._place} keeps being changed by a process whose log cannot be seen: retry")

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _log(self) -> Path:
        return Path(f"{os.path.realpath(self._path)}-wal")

    def _found(self) -> tuple[object, ...]:
        """Return a value that changes if the file is replaced or written to, or if a log appears or disappears."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            raise NotFoundError(f"{self._place} was never written: check the path") from None
        if self._log().exists():
            return (found.st_dev, found.st_ino)
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def _connected(self) -> sqlite3.Connection:
        found = self._found()
        if self.connection is None or self._of != found:
            self.close()
            if not _looked_at(self._path, self._place):
                raise NotFoundError(f"{self._place} was never written: check the path")
            logged = self._log().exists()
            connection = connect(self._path, "ro" if logged else "ro&immutable=1", self._timeout)
            try:
                if not identify(connection, self._place):
                    raise NotFoundError(f"{self._place} was never written: check the path")
            except sqlite3.OperationalError as error:
                connection.close()
                if logged and error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                    raise UnavailableError(
                        f"{self._log()} contains writes, but cannot be read because no file may be written next to it: open "
                        "the database once with write permission, and close it"
                    ) from error
                raise
            except BaseException:
                connection.close()
                raise
            self.connection, self._of = connection, found
        return self.connection
