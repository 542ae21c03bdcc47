"""Translate redis-py's errors and the network's."""

from __future__ import annotations

from limpet import (
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)
from limpet.driver.kit import credentials_refused, quoted, timed_out, tls_failure_reason, unreachable

from redis import exceptions

__all__ = ["CLIENT_ERRORS", "of_redis"]

CLIENT_ERRORS: tuple[type[Exception], ...] = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
"""Everything that the client raises. A time-out is also an OSError."""

_REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError)


def of_redis(error: Exception, place: str, *, sent: bool = False, connecting: bool = False) -> LimpetError:
    """Return Limpet's error for a client error; `sent` if a script may have run, `connecting` while connecting."""
    if (why := tls_failure_reason(error)) is not None:
        return ConfigurationError(f"{place}: {why}")
    if isinstance(error, _REFUSED) or _begins(error, "WRONGPASS", "NOAUTH"):
        return credentials_refused(place, error)
    if isinstance(error, exceptions.NoPermissionError):
        return ConfigurationError(
            f"{place} does not permit this user to do what is needed: grant the permissions ({quoted(error)})"
        )
    if isinstance(error, exceptions.ReadOnlyError):
        return ReadOnlyError(f"{place} is a replica and cannot be written to: connect to the primary ({quoted(error)})")
    if _begins(error, "WRONGTYPE") or "WRONGTYPE" in str(error):
        return CorruptDataError(f"{place}: another program uses Limpet's keys ({quoted(error)}): choose another base")
    if isinstance(error, exceptions.OutOfMemoryError):
        return UnavailableError(f"{place} is out of memory: raise its maxmemory ({quoted(error)}); nothing was written")
    if _begins(error, "MISCONF"):
        return UnavailableError(
            f"{place} cannot save to its disk and refuses writes ({quoted(error)}): nothing was written"
        )
    if isinstance(error, exceptions.InvalidResponse) or "max bulk" in str(error):
        return TooLargeError(f"too large for {place} ({quoted(error)}): store it in parts")
    if isinstance(error, exceptions.AskError):  # includes MOVED
        return ConfigurationError(
            f"{place} is a node of a cluster ({quoted(error)}): write redis+cluster:// in its URL"
        )
    if "NOREPLICAS" in str(error):
        return UnavailableError(f"{place} has too few replicas ({quoted(error)}): nothing was written")
    if isinstance(error, exceptions.ClusterDownError):
        return UnavailableError(
            f"{place}: its slot has no primary at the moment ({quoted(error)}): check CLUSTER INFO, then retry"
        )
    if isinstance(error, exceptions.TryAgainError):
        return UnavailableError(f"{place}: its slot is being moved to another node ({quoted(error)}): retry")
    if "non local key" in str(error):  # a script was stopped halfway: none of Limpet's can be
        return UnavailableError(f"{place} stopped a script ({quoted(error)}): read back what it wrote", sent=sent)
    if _begins(error, "DB index is out of range"):
        return ConfigurationError(
            f"{place}: there is no such database ({quoted(error)}): choose another, or raise 'databases'"
        )
    if isinstance(error, exceptions.BusyLoadingError):
        return UnavailableError(f"{place} is loading its data ({quoted(error)}): retry in a moment")
    if isinstance(error, exceptions.ResponseError):
        # The server refused the command, or is loading, busy or being moved: nothing was executed.
        return UnavailableError(f"{place} refused a command ({quoted(error)}): check its log, then retry")
    if connecting and isinstance(error, TimeoutError | exceptions.TimeoutError):
        tls = " and whether it supports TLS there" if "rediss" in place else ""
        return UnavailableError(
            f"{place} did not accept a connection in time: check the address{tls}, or raise 'connect_timeout'"
        )
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return timed_out(place, sent=sent)
    return unreachable(place, error, sent=sent)


def _begins(error: Exception, *words: str) -> bool:
    return str(error).startswith(words)
