"""Translate the errors of the server, the client and the network."""

from __future__ import annotations

import re

from limpet import (
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)
from limpet.driver.kit import credentials_refused, timed_out, tls_failure_reason, unreachable

from ._library import ERRORS

__all__ = ["CLIENT_ERRORS", "lost_race", "number_of", "of_mysql"]

CLIENT_ERRORS: tuple[type[Exception], ...] = (*ERRORS, OSError)
"""Everything that the client raises. A time-out is also an OSError."""

_CREDENTIALS = {1045, 1698, 1251, 1862, 3118, 3955}
"""Access denied; the account is locked, or requires another client or a new password."""
_NO_DATABASE = {1044, 1046, 1049}
_NO_RIGHTS = {1142, 1143, 1227, 1290, 1370, 1419, 1792, 1836, 3100}
_STATEMENTS_LOGGED = 1665
"""Statement-based binary logging with a READ COMMITTED transaction."""
_TOO_LARGE = {1118, 1153, 1301, 1406}
_DAMAGED = {1034, 1054, 1146, 1194, 1195, 1259, 1347, 1356, 1364, 1366, 1712, 1932}
_FULL = {1021, 1114, 1037, 1038, 1041, 1135, 28}
"""No space left on disk or in memory."""
_BUSY = {1040, 1129, 1203, 1226, 1637}
"""Too many connections or transactions."""
_RACES = {1020, 1062, 1205, 1213, 3101}
"""Changed since it was read; created by another writer; waited too long for a lock; a deadlock; a commit that lost
to one on another server (on Galera, reported as a deadlock).
"""
_ENDS = {1053, 1077, 1080, 1105, 1152, 1153, 1158, 1159, 1160, 1161, 1180, 1184, 1317, 1927, 1969, 3024, 4031}
"""The server ends a connection, a statement or itself, perhaps after it had committed."""
_QUOTING = {1062, 1064, 1264, 1292, 1366}
"""Their text quotes a value or part of a statement."""
_QUOTED = re.compile("'.*'", re.DOTALL)
_LOST = {2000, 2001, 2002, 2003, 2004, 2005, 2006, 2012, 2013, 2014, 2026, 2027, 2055}
"""The client's own numbers: nothing was received, or nothing valid."""


def number_of(error: Exception) -> int:
    """Return the server's or the client's error number; 0 if there is none."""
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def lost_race(error: Exception) -> bool:
    """Return whether the transaction failed because of others, so that it is retried."""
    return isinstance(error, ERRORS) and number_of(error) in _RACES


def of_mysql(error: Exception, place: str, *, sent: bool = False) -> LimpetError:
    """Return Limpet's error for a client error; `sent` if a write or a commit may have happened nevertheless."""
    number = number_of(error) if isinstance(error, ERRORS) else 0
    if number in _QUOTING and len(error.args) > 1:
        error.args = (number, _QUOTED.sub("'...'", str(error.args[1])))  # also for tracebacks that show it as a cause
    said = error.args[1] if len(error.args) > 1 else error
    if number in _CREDENTIALS:
        return credentials_refused(place, said)
    if number in _NO_DATABASE:
        return ConfigurationError(
            f"{place}: this user has no such database: create it first (CREATE DATABASE ...), and grant the privileges ({said})"
        )
    if number == _STATEMENTS_LOGGED:
        return ConfigurationError(
            f"{place}: the server logs statements, which is not safe with concurrent writers: set binlog_format to ROW "
            f"(or MIXED) ({said})"
        )
    if number in _NO_RIGHTS:
        return ReadOnlyError(f"{place} cannot be written to: connect to the primary, and grant the privileges ({said})")
    if number in _TOO_LARGE:
        return TooLargeError(f"too large for {place} ({said}): raise max_allowed_packet, or store it in parts")
    if number in _DAMAGED:
        return CorruptDataError(
            f"{place} is not in the expected state ({said}). It was left unchanged: choose another table, or restore a backup"
        )
    if number in _BUSY:
        return UnavailableError(f"{place} takes no more connections: lower 'pool_size', or use a proxy ({said})")
    if number in _FULL:
        return UnavailableError(f"{place} has no space left ({said}): nothing was written; free some space, then retry")
    if isinstance(error, TimeoutError):
        return timed_out(place, sent=sent)
    if (why := tls_failure_reason(error)) is not None:
        return ConfigurationError(f"{place}: {why}")
    if number and number not in _LOST:
        return UnavailableError(f"{place} failed ({said}): check its log, then retry", sent=sent and number in _ENDS)
    return unreachable(place, said or type(error).__name__, sent=sent)
