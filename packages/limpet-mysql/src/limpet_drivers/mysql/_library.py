"""The client library, named here alone: aiomysql, or asyncmy, which is called alike. What is private to them is here too."""

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
"""Bytes of a value that comes through: a row of 16 MiB, which is several packets, asyncmy takes for no row at all."""
_TLS = 2048
"""The bit by which a server says that it speaks TLS."""


class Result(NamedTuple):
    """What one statement gave."""

    rows: Sequence[Sequence[Any]]
    inserted: int
    """What `LAST_INSERT_ID` was given, 0 where it was not reached."""


try:
    from asyncmy.errors import MySQLError as _AsyncmyError
except ImportError:
    ERRORS: tuple[type[Exception], ...] = (pymysql.MySQLError,)
else:
    ERRORS = (pymysql.MySQLError, _AsyncmyError)
"""Everything that a server answers and the libraries raise, with the error's number first in `args`."""


_CLEARTEXT = (b"mysql_clear_password", b"dialog")
"""Authentication plugins that send the password as it is."""
_UNDERSTOOD: tuple[type[Exception], ...] = (LimpetError, *ERRORS)
_MALFORMED = 2027


async def connect(library: Library, *, tls: Any, **how: Any) -> Any:
    """A connection. With a context in `tls` no password is sent to a server that has no TLS.

    Without one, and on no socket of this machine, no password is sent in cleartext.
    """
    connection = _class(library, checked=tls is not None, in_clear=tls is not None or bool(how.get("unix_socket")))(
        **{name: value for name, value in how.items() if value is not None},
        charset="utf8mb4",
        autocommit=True,
        program_name="limpet",
        ssl=tls,
    )
    if library == "asyncmy":
        connection._connect_timeout = None  # the caller's is around it all; this one loses cancellations on Python 3.11
    try:
        with _understood():
            await (connection._connect() if library == "aiomysql" else connection.connect())
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _understood() -> Iterator[None]:
    """Both libraries trust that a server makes sense: what they raise of one that does not becomes one of their own."""
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
        """Both go on without TLS where a server, or somebody between, says that it has none, and send what it asks for."""

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
    """Send one or several statements, separated by semicolons: what each of them gave, up to the first error.

    Not by a cursor, which asks for the warnings of every upsert: a round trip more.
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
    """Bytes of the largest value that the library can read, where there is such a limit."""
    return _LARGEST.get(library)


def alive(connection: Any) -> bool:
    """Whether neither side has closed it, and nothing that nobody asked for has come."""
    if _library(connection) == "asyncmy":
        return bool(connection.connected) and not connection._stream_broken
    reader = connection._reader
    return reader is not None and not reader.eof_received and reader.exception() is None and not len(reader._buffer)


def abort(connection: Any) -> None:
    """Close it at once, whatever is still to be sent: who waits for an answer is told that the connection is lost."""
    transport = _transport(connection)
    if transport is not None:
        hang_up(transport)
        transport.abort()
    connection.close()


def descriptor(connection: Any) -> int | None:
    """Its socket's, `None` where it is closed."""
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
    """Whose pool it is. Raises `ConfigurationError` for what is no pool of these libraries."""
    found = _library(pool)
    if not found:
        raise ConfigurationError(f"pool is a {type(pool).__name__}: pass a pool of aiomysql or asyncmy")
    return found


async def give_back(pool: Any, connection: Any) -> None:
    """Back to the application's pool, whose next one in line is told even if we are cancelled now."""
    closed = not alive(connection)
    if closed:
        connection.close()
    released = pool.release(connection)
    if _library(pool) == "aiomysql":
        await asyncio.shield(released)
        if closed:  # of a connection that is closed it tells nobody
            await asyncio.shield(pool._wakeup())


def _library(thing: object) -> str:
    return _library_of(type(thing))  # type: ignore[arg-type]  # to mypy no class is hashable


@cache
def _library_of(kind: type) -> str:
    for base in kind.__mro__:
        if (found := base.__module__.partition(".")[0]) in ("aiomysql", "asyncmy"):
            return found
    return ""
