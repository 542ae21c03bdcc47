"""Every error of the two client libraries and of the network becomes one of ours."""

import asyncmy.errors
import pymysql
import pytest
from limpet import (
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)
from limpet_drivers.mysql._errors import CLIENT_ERRORS, lost_race, of_mysql

ERRORS = [
    found
    for module in (pymysql.err, asyncmy.errors)
    for name in sorted(dir(module))
    if isinstance(found := getattr(module, name), type) and issubclass(found, module.MySQLError)
]
"""Every exception that the client libraries have."""

SPECIAL: dict[int, type[LimpetError]] = {
    1045: ConfigurationError,  # access denied
    1049: ConfigurationError,  # unknown database
    1290: ReadOnlyError,  # --read-only
    1142: ReadOnlyError,  # no right on this table
    1836: ReadOnlyError,
    1153: TooLargeError,  # beyond max_allowed_packet
    1146: CorruptDataError,  # no such table
    1054: CorruptDataError,  # no such column
    1040: UnavailableError,  # too many connections
    1114: UnavailableError,  # the table is full
    1021: UnavailableError,  # the disk is full
    1053: UnavailableError,  # shutdown
    2003: UnavailableError,  # cannot connect
    2013: UnavailableError,  # lost
    9999: UnavailableError,
}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_each_error_has_one_of_ours(kind: type[Exception]) -> None:
    for error in (kind(1105, "what the server says"), kind("what the client says"), kind()):
        assert isinstance(error, CLIENT_ERRORS), f"{kind.__name__} would reach the caller as it is"
        ours = of_mysql(error, "the place")
        assert "the place" in str(ours)
        assert len(str(ours)) > len("the place") + 20, "it says what to do"


@pytest.mark.parametrize("library", [pymysql.err, asyncmy.errors], ids=["aiomysql", "asyncmy"])
@pytest.mark.parametrize(("number", "ours"), SPECIAL.items(), ids=str)
def test_the_common_ones(number: int, ours: type[LimpetError], library: object) -> None:
    error = library.OperationalError(number, "what the server says")  # type: ignore[attr-defined]
    assert type(of_mysql(error, "the place")) is ours
    assert not lost_race(error)


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (pymysql.OperationalError(2013, "Lost connection to MySQL server during query"), True),
        (pymysql.InterfaceError("Cancelled during execution"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError(), True),
        (pymysql.OperationalError(1053, "Server shutdown in progress"), True),
        (pymysql.OperationalError(1180, "error during commit"), True),
        (pymysql.OperationalError(1114, "The table is full"), False),
        (pymysql.OperationalError(1041, "Out of memory"), False),
    ],
    ids=lambda value: str(value.args[:1]) if isinstance(value, Exception) else "",
)
def test_whether_a_write_may_have_happened(error: Exception, unknown: bool) -> None:
    ours = of_mysql(error, "the place", sent=True)
    assert isinstance(ours, UnavailableError)
    assert ours.sent is unknown
    before = of_mysql(error, "the place", sent=False)
    assert isinstance(before, UnavailableError)
    assert not before.sent


@pytest.mark.parametrize("number", [1020, 1062, 1205, 1213])
def test_what_is_played_again(number: int) -> None:
    assert lost_race(pymysql.OperationalError(number, "somebody was faster"))
    assert lost_race(asyncmy.errors.OperationalError(number, "somebody was faster"))
    assert not lost_race(OSError(number, "another number"))


def test_what_to_do_about_a_lost_answer_is_said_further_up() -> None:
    error = ConnectionResetError("connection lost")
    assert str(of_mysql(error, "the place")).endswith("check whether it is running, then retry")
    assert "retry" not in str(of_mysql(error, "the place", sent=True))


@pytest.mark.parametrize("number", [1062, 1064, 1292, 1366])
def test_no_value_is_quoted(number: int) -> None:
    error = pymysql.err.DataError(number, "Incorrect string value: 'SECRET' and 'it's' for column 'text' at row 1")
    ours = of_mysql(error, "MySQL at h")
    assert "SECRET" not in f"{ours} {error} {error!r}"
    assert "Incorrect string value" in str(ours)
