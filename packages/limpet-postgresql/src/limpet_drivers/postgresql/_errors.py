"""Translate asyncpg's errors and the network's."""

from __future__ import annotations

import asyncpg
from limpet import (
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)
from limpet.driver.kit import credentials_refused, timed_out, tls_failure_reason, unreachable

__all__ = ["CLIENT_ERRORS", "NO_RIGHTS", "RACES", "ends_connection", "of_postgresql"]

CLIENT_ERRORS: tuple[type[Exception], ...] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""Everything that the client raises. A time-out is also an OSError."""

RACES = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
"""The transaction was rolled back because of others: it is retried."""

_CREDENTIALS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)
NO_RIGHTS = (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError)
_DAMAGED = (
    asyncpg.DataCorruptedError,
    asyncpg.IndexCorruptedError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.DatatypeMismatchError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
)
_POOLED = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""A prepared statement is missing or a different one: a pooler in between swaps connections."""
_TOO_LARGE = (asyncpg.ProgramLimitExceededError,)


def of_postgresql(error: Exception, place: str, *, sent: bool = False) -> LimpetError:
    """Return Limpet's error for a client error; `sent` if a write or a commit may have happened nevertheless."""
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None  # it may quote a whole row, and a traceback shows its text as a cause
    if (why := tls_failure_reason(error)) is not None:
        return ConfigurationError(f"{place}: {why}")
    if "rejected SSL upgrade" in str(error):
        return ConfigurationError(f"{place} does not support TLS: turn it on there, or lower 'ssl'")
    if isinstance(error, _CREDENTIALS):
        return credentials_refused(place, error)
    if isinstance(error, _POOLED) or "startup parameter" in str(error):
        return ConfigurationError(f"{place} is behind a pooler ({error}): pass pgbouncer=true")
    if isinstance(error, asyncpg.ProtocolViolationError) and "authentication failed" in str(error):  # from PgBouncer
        return credentials_refused(place, error)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return ConfigurationError(f"{place}: there is no such database: create it first, with 'createdb' ({error})")
    if isinstance(error, NO_RIGHTS):
        return ReadOnlyError(
            f"{place} cannot be written to: connect to the primary, and grant the privileges ({error})"
        )
    if isinstance(error, _TOO_LARGE):
        return TooLargeError(f"too large for {place} ({error}): store it in parts")
    if isinstance(error, _DAMAGED):
        return CorruptDataError(
            f"{place} is not in the expected state ({error}). It was left unchanged: choose another table, or restore a backup"
        )
    if isinstance(error, TimeoutError):
        return timed_out(place, sent=sent)
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return UnavailableError(f"{place} takes no more connections: lower 'pool_size', or use a pooler ({error})")
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
        # The server itself reports it: it stops, is full, or was told to cancel. Whatever was under way is rolled back.
        return UnavailableError(f"{place} failed ({error}): check its log, then retry", sent=sent and _ends(error))
    return unreachable(place, error, sent=sent)


def ends_connection(error: BaseException | None) -> bool:
    """Return whether the server ends this connection: a backend was terminated, or the server stops."""
    return isinstance(error, asyncpg.OperatorInterventionError) and not isinstance(error, asyncpg.QueryCanceledError)


def _ends(error: asyncpg.PostgresError) -> bool:
    """Return whether the server ended the connection, perhaps after it had committed."""
    return isinstance(
        error, asyncpg.OperatorInterventionError | asyncpg.InternalServerError | asyncpg.PostgresSystemError
    )
