"""Translate SQLite's errors and the system's."""

from __future__ import annotations

import errno
import sqlite3

from limpet import (
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)

__all__ = ["of_sqlite", "of_system"]

_PRIMARY = 0xFF
"""The low byte of an extended result code is the primary code."""

_DAMAGED = {
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database",
    sqlite3.SQLITE_FORMAT: "is not a SQLite database that this release can read",
    sqlite3.SQLITE_ERROR: "does not have the expected tables",
    sqlite3.SQLITE_SCHEMA: "was changed by another program",
    sqlite3.SQLITE_CONSTRAINT: "was changed by another program",
    sqlite3.SQLITE_MISMATCH: "was changed by another program",
}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_REFUSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_TOO_LARGE = {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOLFS}
_MOVED = {sqlite3.SQLITE_READONLY_DBMOVED}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_NO_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_PATH = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ}


def of_sqlite(error: sqlite3.Error, place: str, *, sent: bool = False) -> LimpetError:
    """Return Limpet's error for a client error; `sent` if a commit raised it, which may have happened nevertheless."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return _without_code(error, place)
    primary = code & _PRIMARY
    if code in _MOVED:
        return UnavailableError(f"{place} was removed or replaced while it was open: open it again ({error})")
    if primary in _DAMAGED:
        return CorruptDataError(
            f"{place} {_DAMAGED[primary]} ({error}). It was left unchanged: choose another file, or restore a backup"
        )
    if primary in _BUSY:
        return UnavailableError(
            f"another program keeps {place} locked ({error}): end its transaction, or raise 'timeout'"
        )
    if primary in _REFUSED:
        return ReadOnlyError(f"{place} cannot be written ({error}): check the permissions on it and on its folder")
    if primary in _TOO_LARGE:
        return TooLargeError(f"too large for {place} ({error}): store it in parts")
    if primary == sqlite3.SQLITE_FULL:
        return UnavailableError(f"no space left for {place} ({error}): free some space; nothing was written")
    if primary == sqlite3.SQLITE_CANTOPEN:
        return UnavailableError(f"{place} cannot be opened ({error}): check that its folder exists and is accessible")
    # An I/O error, no memory, an interruption: the same call may succeed later.
    return UnavailableError(f"{place} failed ({error}): check the disk and the system's log, then retry", sent=sent)


def of_system(error: OSError, place: str) -> LimpetError:
    """Return Limpet's error for an error of the operating system with the database's files."""
    if error.errno in _NO_RIGHTS:
        return ReadOnlyError(f"{place} cannot be written ({error}): check the permissions on it and on its folder")
    if error.errno in _NO_PATH:
        return ConfigurationError(f"{place} is not a usable path ({error}): choose another")
    if error.errno in _FULL:
        return UnavailableError(f"no space left for {place} ({error}): free some space; nothing was written")
    return UnavailableError(f"{place} failed ({error}): check the disk and the system's log, then retry")


def _without_code(error: sqlite3.Error, place: str) -> LimpetError:
    """Errors that Python's module itself raises, before or after calling SQLite."""
    if isinstance(error, sqlite3.DataError) or "too large" in str(error) or "too big" in str(error):
        return TooLargeError(f"too large for {place} ({error}): store it in parts")
    if "decode" in str(error):
        return CorruptDataError(f"{place} holds a text that is not UTF-8 ({error}): restore a backup")
    return UnavailableError(f"{place} cannot be used ({error}): open it again")
