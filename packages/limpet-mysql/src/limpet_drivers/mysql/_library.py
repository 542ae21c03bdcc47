"""The client library: aiomysql, or asyncmy, which has the same interface.

Only this module uses it, private parts included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeAlias

import pymysql
from limpet import ConfigurationError, LimpetError
from limpet.driver.kit import NONSENSE, descriptor_of, hang_up, without_frames

__all__ = [
    "ERRORS",
    "Library",
    "Result",
    "abort",
    "alive",
    "connect",
    "descriptor",
    "end",
    "give_back",
    "largest",
    "library_of",
    "send",
]

Library: TypeAlias = Literal["aiomysql", "asyncmy"]

_LARGEST = {"asyncmy": 15 * 1024 * 1024}
"""Bytes of the largest readable value: asyncmy does not recognize a row of 16 MiB, which takes several packets."""
_TLS = 2048
"""The bit by which a server announces TLS."""


class Result(NamedTuple):
    """The result of one statement."""

    rows: Sequence[Sequence[Any]]
    inserted: int
    """What `LAST_INSERT_ID` was set to; 0 if it was not reached."""


try:
    from asyncmy.errors import MySQLError as _AsyncmyError
except ImportError:
    ERRORS: tuple[type[Exception], ...] = (pymysql.MySQLError,)
else:
    ERRORS = (pymysql.MySQLError, _AsyncmyError)
"""All server errors that the libraries raise, with the error number first in `args`."""


_CLEARTEXT = (b"mysql_clear_password", b"dialog")
"""Authentication plugins that send the password in cleartext."""
_UNDERSTOOD: tuple[type[Exception], ...] = (LimpetError, *ERRORS)
_MALFORMED = 2027


async def connect(library: Library, *, tls: Any, **how: Any) -> Any:
    """Connect. With a context in `tls`, no password is sent to a server without TLS.

    Without one, no password is sent in cleartext, except over a socket on this machine.
    """
    connection = _class(library, checked=tls is not None, in_clear=tls is not None or bool(how.get("unix_socket")))(
        **{name: value for name, value in how.items() if value is not None},
        charset="utf8mb4",
        autocommit=True,
        program_name="limpet",
        ssl=tls,
    )
    if library == "asyncmy":
        connection._connect_timeout = None  # loses cancellations on Python 3.11; the caller has one around everything
    try:
        with _understood():
            await (connection._connect() if library == "aiomysql" else connection.connect())
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _understood() -> Iterator[None]:
    """Both libraries trust the server. What they raise on nonsense becomes one of their own errors."""
    try:
        yield
    except _UNDERSTOOD:
        raise
    except NONSENSE as error:
        what = f"it sent what is not MySQL's protocol, or asked for a file of ours: {type(error).__name__}"
        raise pymysql.OperationalError(_MALFORMED, what) from without_frames(error)


@cache
def _class(library: Library, *, checked: bool, in_clear: bool) -> Any:
    try:
        module = import_module(library)
    except ImportError as error:
        raise ConfigurationError(
            f"client={library!r} cannot be imported ({error}): install limpet-mysql[{library}]"
        ) from without_frames(error)

    if not checked and in_clear:
        return module.Connection

    class Connection(module.Connection):  # type: ignore[name-defined, misc]
        """Both continue without TLS if anyone says that the server has none, and send whatever it requests."""

        async def _request_authentication(self) -> None:
            if checked and not self.server_capabilities & _TLS:
                raise ConfigurationError(
                    "the server does not support TLS: turn it on there, or leave out the option 'ssl'"
                )
            first = self._server_auth_plugin if library == "aiomysql" else self._auth_plugin_name
            _check_plugin(first.encode() if isinstance(first, str) else first)
            await super()._request_authentication()

        async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
            _check_plugin(plugin_name)
            return await super()._process_auth(plugin_name, auth_packet)

    def _check_plugin(name: bytes) -> None:
        if not in_clear and name in _CLEARTEXT:
            raise ConfigurationError(
                "the server asks for the password in cleartext, which was not sent: set ssl=verify-full, or give the user "
                "another authentication plugin"
            )

    return Connection


async def send(connection: Any, sql: str) -> list[Result]:
    """Send one or several statements, separated by semicolons. Return the results, up to the first error.

    This does not use a cursor, which would request the warnings of every upsert: one more round trip.
    """
    results = []
    with _understood():
        await connection.query(sql.encode("ascii"))
        while True:
            result = connection._result
            results.append(Result(result.rows or (), result.insert_id or 0))
            if not result.has_next:
                return results
            await connection.next_result()


def largest(library: str) -> int | None:
    """Bytes of the largest value that the library can read, if there is such a limit."""
    return _LARGEST.get(library)


def alive(connection: Any) -> bool:
    """Return whether neither side has closed it, and nothing unexpected has arrived."""
    if _library(connection) == "asyncmy":
        return bool(connection.connected) and not connection._stream_broken
    reader = connection._reader
    return reader is not None and not reader.eof_received and reader.exception() is None and not len(reader._buffer)


def abort(connection: Any) -> None:
    """Close it at once, even if something is still to be sent. Waiting callers get a lost connection."""
    transport = _transport(connection)
    if transport is not None:
        hang_up(transport)
        transport.abort()
    connection.close()


def descriptor(connection: Any) -> int | None:
    """The descriptor of its socket; `None` if it is closed."""
    return descriptor_of(_transport(connection))


def _transport(connection: Any) -> Any:
    return (
        connection._transport if _library(connection) == "asyncmy" else getattr(connection._writer, "transport", None)
    )


async def end(connection: Any) -> None:
    """Say goodbye, without waiting for an answer."""
    with suppress(*ERRORS, OSError):
        if alive(connection) and _library(connection) == "aiomysql":
            connection._writer.write(b"\x01\x00\x00\x00\x01")
    connection.close()


def library_of(pool: Any) -> str:
    """Return the library of a pool. Raises `ConfigurationError` for anything that is not one of their pools."""
    found = _library(pool)
    if not found:
        raise ConfigurationError(f"pool is a {type(pool).__name__}: pass a pool of aiomysql or asyncmy")
    return found


async def give_back(pool: Any, connection: Any) -> None:
    """Give a connection back to the application's pool, and wake its next waiter even if we are cancelled."""
    closed = not alive(connection)
    if closed:
        connection.close()
    released = pool.release(connection)
    if _library(pool) == "aiomysql":
        await asyncio.shield(released)
        if closed:  # it does not report closed connections
            await asyncio.shield(pool._wakeup())


def _library(thing: object) -> str:
    return _library_of(type(thing))  # type: ignore[arg-type]  # to mypy no class is hashable


@cache
def _library_of(kind: type) -> str:
    for base in kind.__mro__:
        if (found := base.__module__.partition(".")[0]) in ("aiomysql", "asyncmy"):
            return found
    return ""
