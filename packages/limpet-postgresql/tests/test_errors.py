"""Every error of asyncpg and of the network becomes one of ours."""

import asyncpg
import pytest
from limpet import (
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)
from limpet_drivers.postgresql._errors import CLIENT_ERRORS, RACES, of_postgresql

ERRORS = sorted(
    {
        found
        for name in dir(asyncpg.exceptions)
        if isinstance(found := getattr(asyncpg.exceptions, name), type)
        and issubclass(found, Exception)
        and not issubclass(found, Warning)
    },
    key=lambda found: found.__name__,
)
"""Every exception that the client library has."""

SPECIAL: dict[type[Exception], type[LimpetError]] = {
    asyncpg.InvalidPasswordError: ConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError: ConfigurationError,
    asyncpg.InvalidCatalogNameError: ConfigurationError,
    asyncpg.ReadOnlySQLTransactionError: ReadOnlyError,
    asyncpg.InsufficientPrivilegeError: ReadOnlyError,
    asyncpg.UndefinedTableError: CorruptDataError,
    asyncpg.DataCorruptedError: CorruptDataError,
    asyncpg.IndexCorruptedError: CorruptDataError,
    asyncpg.UniqueViolationError: CorruptDataError,
    asyncpg.ProgramLimitExceededError: TooLargeError,
    asyncpg.TooManyConnectionsError: UnavailableError,
    asyncpg.DiskFullError: UnavailableError,
    asyncpg.AdminShutdownError: UnavailableError,
    asyncpg.CannotConnectNowError: UnavailableError,
    asyncpg.QueryCanceledError: UnavailableError,
    asyncpg.DeadlockDetectedError: UnavailableError,
}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_has_one_of_ours(kind: type[Exception]) -> None:
    error = kind("what the server says")
    assert isinstance(error, CLIENT_ERRORS), f"{kind.__name__} would reach the caller as it is"
    ours = of_postgresql(error, "the place")
    assert "the place" in str(ours)
    assert len(str(ours)) > len("the place") + 20, "it says what to do"


@pytest.mark.parametrize(("kind", "ours"), SPECIAL.items(), ids=lambda kind: kind.__name__)
def test_the_common_ones(kind: type[Exception], ours: type[LimpetError]) -> None:
    error = kind("what the server says")
    assert type(of_postgresql(error, "the place")) is ours


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError(), True),
        (asyncpg.AdminShutdownError("terminating connection"), True),
        (asyncpg.DiskFullError("no room"), False),
        (asyncpg.QueryCanceledError("canceled"), True),
        (asyncpg.OutOfMemoryError("no memory"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whether_a_write_may_have_happened(error: Exception, unknown: bool) -> None:
    ours = of_postgresql(error, "the place", sent=True)
    assert isinstance(ours, UnavailableError)
    assert ours.sent is unknown
    before = of_postgresql(error, "the place", sent=False)
    assert isinstance(before, UnavailableError)
    assert not before.sent


def test_races_are_errors_of_the_server() -> None:
    assert all(issubclass(race, asyncpg.PostgresError) for race in RACES)


def test_what_to_do_about_a_lost_answer_is_said_further_up() -> None:
    error = ConnectionResetError("connection lost")
    assert str(of_postgresql(error, "the place")).endswith("check whether it is running, then retry")
    assert "retry" not in str(of_postgresql(error, "the place", sent=True))


def test_no_row_is_quoted() -> None:
    error = asyncpg.CheckViolationError("new row violates a check constraint")
    error.detail = "Failing row contains (kv!@a, SECRET)."
    ours = of_postgresql(error, "PostgreSQL at h")
    assert "SECRET" not in f"{ours} {error}"
    assert "check constraint" in str(ours)
