"""Every error of SQLite, of Python's module and of the system becomes one of ours."""

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from limpet import (
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)
from limpet_drivers.sqlite._errors import of_sqlite, of_system

RESULTS = {
    "BUSY": UnavailableError,
    "LOCKED": UnavailableError,
    "PROTOCOL": UnavailableError,
    "FULL": UnavailableError,
    "IOERR": UnavailableError,
    "CANTOPEN": UnavailableError,
    "NOMEM": UnavailableError,
    "INTERRUPT": UnavailableError,
    "ABORT": UnavailableError,
    "INTERNAL": UnavailableError,
    "MISUSE": UnavailableError,
    "NOTFOUND": UnavailableError,
    "EMPTY": UnavailableError,
    "RANGE": UnavailableError,
    "CORRUPT": CorruptDataError,
    "NOTADB": CorruptDataError,
    "FORMAT": CorruptDataError,
    "ERROR": CorruptDataError,
    "SCHEMA": CorruptDataError,
    "CONSTRAINT": CorruptDataError,
    "MISMATCH": CorruptDataError,
    "READONLY": ReadOnlyError,
    "PERM": ReadOnlyError,
    "AUTH": ReadOnlyError,
    "TOOBIG": TooLargeError,
    "NOLFS": TooLargeError,
}
"""Every primary result code that is an error."""


def error_with(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    return error


def codes() -> dict[str, int]:
    """The result codes that this Python knows, extended ones included: all share their low byte with a primary one."""
    primary = {getattr(sqlite3, f"SQLITE_{name}") for name in RESULTS}
    found = {}
    for name in dir(sqlite3):
        first = name.removeprefix("SQLITE_").split("_")[0]
        if name.startswith("SQLITE_") and first in RESULTS and getattr(sqlite3, name) & 0xFF in primary:
            found[name] = getattr(sqlite3, name)
    return found


def test_the_list_is_whole() -> None:
    known = {name.removeprefix("SQLITE_") for name in codes()}
    assert set(RESULTS) <= known
    assert len(known) > 60, "the extended codes are there as well"


@pytest.mark.parametrize(("name", "code"), codes().items())
def test_every_result_code_is_mapped(name: str, code: int) -> None:
    mapped = of_sqlite(error_with(code), "the database x")
    expected = RESULTS[name.removeprefix("SQLITE_").split("_")[0]]
    if name == "SQLITE_READONLY_DBMOVED":
        expected = UnavailableError
    assert type(mapped) is expected
    assert "the database x" in str(mapped)
    assert "what SQLite says" in str(mapped)


def test_only_what_may_have_happened_says_so() -> None:
    failed = of_sqlite(error_with(sqlite3.SQLITE_IOERR_FSYNC), "x", sent=True)
    full = of_sqlite(error_with(sqlite3.SQLITE_FULL), "x", sent=True)
    assert isinstance(failed, UnavailableError)
    assert failed.sent
    assert isinstance(full, UnavailableError)
    assert not full.sent, "a full disk rolls back: it is known that nothing was written"


def closed(connection: sqlite3.Connection) -> None:
    connection.close()
    connection.execute("SELECT 1")


PROVOKED: dict[str, tuple[Callable[[sqlite3.Connection], object], type[LimpetError]]] = {
    "text that is not UTF-8": (lambda c: c.execute("SELECT CAST(x'ff' AS TEXT)").fetchone(), CorruptDataError),
    "no such table": (lambda c: c.execute("SELECT * FROM items"), CorruptDataError),
    "too big": (lambda c: c.execute("SELECT zeroblob(2000000000)").fetchone(), TooLargeError),
    "read only": (lambda c: (c.execute("PRAGMA query_only = ON"), c.execute("CREATE TABLE a (b)")), ReadOnlyError),
    "full": (lambda c: (c.execute("PRAGMA max_page_count = 1"), c.execute("CREATE TABLE a (b)")), UnavailableError),
    "closed": (closed, UnavailableError),
}


@pytest.mark.parametrize("name", PROVOKED)
def test_errors_as_they_are_really_raised(name: str) -> None:
    provoke, expected = PROVOKED[name]
    connection = sqlite3.connect(":memory:")
    try:
        with pytest.raises(sqlite3.Error) as raised:
            provoke(connection)
    finally:
        connection.close()
    assert type(of_sqlite(raised.value, "x")) is expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, ReadOnlyError),
        (errno.EPERM, ReadOnlyError),
        (errno.EROFS, ReadOnlyError),
        (errno.ENOTDIR, ConfigurationError),
        (errno.ENAMETOOLONG, ConfigurationError),
        (errno.ELOOP, ConfigurationError),
        (errno.ENOSPC, UnavailableError),
        (errno.EIO, UnavailableError),
        (errno.EMFILE, UnavailableError),
    ],
)
def test_errors_of_the_system_are_mapped(number: int, expected: type[LimpetError]) -> None:
    assert type(of_system(OSError(number, "what the system says"), "the database x")) is expected


def test_a_damaged_file_says_that_it_was_left_alone(tmp_path: Path) -> None:
    assert "left unchanged" in str(of_sqlite(error_with(sqlite3.SQLITE_CORRUPT), str(tmp_path)))
