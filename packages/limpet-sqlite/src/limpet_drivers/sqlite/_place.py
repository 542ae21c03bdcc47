"""The files of a database: what is created and checked before SQLite opens them, and read-only opening.

A file may come from somebody else. SQLite is opened so that nothing in it runs, and what lies beside it has to be a
plain file: SQLite would wait for a pipe, and delete what a journal names as the journal of another database.
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
"""RETURNING came with 3.35."""
_SMALLEST = 512
"""SQLite takes whatever is shorter than a page for an empty database, and writes over it."""
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
"""Files, by device and number, of which SQLite believes in this child of a fork what is true of the parent."""


def check_version() -> None:
    """Refuse a SQLite that is too old."""
    if sqlite3.sqlite_version_info < _OLDEST:
        needs = ".".join(map(str, _OLDEST))
        raise ConfigurationError(
            f"this Python includes SQLite {sqlite3.sqlite_version}, but the driver needs {needs}: use a newer Python"
        )


def guarded(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, which runs nothing that a file brings: no view, no trigger, no function that does something."""
    connection.execute("PRAGMA trusted_schema = OFF")
    for limit, most in _LIMITS.items():
        connection.setlimit(limit, most)
    connection.set_authorizer(_allowed)
    return connection


def _allowed(action: int, one: str | None, other: str | None, database: str | None, within: str | None) -> int:
    """Asked once for each statement, when it is prepared: `within` is the view or trigger from which it does this."""
    return sqlite3.SQLITE_OK if within is None else sqlite3.SQLITE_DENY


def connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    """A connection to a file, guarded; `mode` as in SQLite's URIs."""
    return guarded(
        sqlite3.connect(
            f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=timeout
        )
    )


def prepare(path: Path, place: str, timeout: float) -> None:
    """Make the folder and the file, and refuse a file that is not ours, without touching it."""
    check_version()
    _make_folder(path.parent)
    size = _looked_at(path, place)
    if size is None:
        _make_file(path)
    elif size:
        # Opened as something that nobody changes, a file is read without locks, journals or any trace. Where there
        # is a log, the tables may be in there, and only an ordinary reading connection sees them.
        log = Path(f"{path}-wal")
        mode = "ro" if log.exists() and log.stat().st_size > 0 else "ro&immutable=1"
        with closing(connect(path, mode, timeout)) as connection:
            identify(connection, place)


def _looked_at(path: Path, place: str) -> int | None:
    """How long the file is, `None` where it is missing; refuses what SQLite should not open."""
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
    """The journal of a crash is played back, and then SQLite deletes the journal that it names at its end."""
    with path.open("rb") as journal:
        size = journal.seek(0, os.SEEK_END)
        journal.seek(max(0, size - len(_JOURNAL_ENDS)))
        if journal.read() == _JOURNAL_ENDS:
            raise CorruptDataError(
                f"{path} was not written by Limpet: it names the journal of another database, which SQLite would delete. "
                "It was left unchanged: remove it, or choose another file"
            )


def _make_file(path: Path) -> None:
    """SQLite gives the files beside it the same mode and owner."""
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
                os.fsync(entries)  # a new folder is on disk when its parent is
            finally:
                os.close(entries)


class Snapshot:
    """A database for who only reads: nothing is made, not even beside the file, so that it may lie where nobody writes.

    A file without a log is opened as one that nobody changes. Whether that still holds is looked at around each read.
    """

    def __init__(self, path: Path, place: str, timeout: float) -> None:
        self._path = path
        self._place = place
        self._timeout = timeout
        self._of: object = None
        self.connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect. Raises `NotFoundError` where there is nothing."""
        check_version()
        self._connected()

    def read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run it on what is there now."""
        for _ in range(_TRIES):
            before = self._found()
            try:
                result = act(self._connected())
            except sqlite3.Error:
                if self._found() == before:
                    raise
                continue  # somebody wrote into what was taken for unchanging
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
        """Another one whenever the file is another, or has a log or not, or was written into."""
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
