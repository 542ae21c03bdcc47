"""Connections: the driver's own or the application's pool; transactions in as few round trips as possible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from limpet import ConfigurationError, UnavailableError
from limpet.driver.kit import Connections, no_connection_in_time, tls_context, without_frames

from . import _library
from ._errors import CLIENT_ERRORS
from ._library import Result
from ._options import Options

__all__ = ["Client", "place_of"]

_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
_LEAST_PACKET = 16 * 1024 * 1024
_SPARE = 64 * 1024
"""Bytes of a packet that are reserved for the text around the values."""


def place_of(options: Options, pool: Any | None) -> str:
    """Return where the server is, for messages."""
    return options.place if pool is None else f"MySQL by the application's pool, table {options.table}"


class Client:
    """Gives each call a connection, and sends statements on it, several at once."""

    def __init__(self, options: Options, pool: Any | None) -> None:
        self.options = options
        self.place = place_of(options, pool)
        self._pool = pool
        self._packet = _LEAST_PACKET
        self.closed = False
        self.largest = _library.largest(options.client if pool is None else _library.library_of(pool))
        self._tls = None
        if options.ssl != "disable":
            self._tls = tls_context(
                ca=options.ssl_ca,
                cert=options.ssl_cert,
                key=options.ssl_key,
                check_hostname=options.ssl == "verify-full",
            )
            if options.ssl == "require":
                self._tls.verify_mode = 0  # type: ignore[assignment]  # CERT_NONE
        self._own: Connections[Any] = Connections(
            self._connect,
            alive=_library.alive,
            end=_library.end,
            size=options.pool_size,
            timeout=options.connect_timeout,
            place=self.place,
            abort=_library.abort,
            socket=_library.descriptor,
        )

    @property
    def connections_made(self) -> int:
        """How many connections the driver itself has made."""
        return self._own.made

    def connection(self) -> AbstractAsyncContextManager[Any]:
        """Lend a connection for one call. After an error it is not used again. Raises the client's errors."""
        return self._own.one() if self._pool is None else self._borrowed(self._pool)

    @asynccontextmanager
    async def _borrowed(self, pool: Any) -> AsyncIterator[Any]:
        seconds = self.options.connect_timeout
        task = asyncio.current_task()
        asked = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(seconds):
                connection = await pool.acquire()
        except TimeoutError as error:
            raise UnavailableError(
                f"no connection of the application's pool to {self.place} became free within {seconds:g} s: "
                "enlarge the pool, or check the server's load"
            ) from without_frames(error)
        except RuntimeError as error:
            raise UnavailableError(f"{self.place}: the application has closed its pool ({error})") from without_frames(
                error
            )
        try:
            if task is not None and task.cancelling() > asked:
                raise asyncio.CancelledError  # lost while the pool connects, on Python 3.11
            yield connection
        except BaseException:
            _library.abort(connection)
            raise
        finally:
            with suppress(*CLIENT_ERRORS):  # an error while giving it back says nothing about the call
                await _library.give_back(pool, connection)

    def alive(self, connection: Any) -> bool:
        """Return whether it can be used again."""
        return _library.alive(connection)

    @property
    def room(self) -> int:
        """Maximum bytes of one SQL statement, set by `learn`."""
        return self._packet - _SPARE

    def learn(self, max_allowed_packet: int) -> None:
        """Find out how much the server accepts. Raises `ConfigurationError` if that is too little."""
        if max_allowed_packet < _LEAST_PACKET:
            raise ConfigurationError(
                f"{self.place} takes {max_allowed_packet} bytes at most: set max_allowed_packet to 16M or more"
            )
        self._packet = max_allowed_packet

    async def run(self, connection: Any, *statements: str) -> list[Result]:
        """Send statements unchanged; return the result of each. After an error, no more are executed."""
        loop = asyncio.get_running_loop()
        # asyncio's time-out costs a tenth of a short call.
        late = loop.call_later(self.options.timeout, _library.abort, connection)
        try:
            if len(statements) == 1:
                return await _library.send(connection, statements[0])
            return [
                result for packet in self._packets(statements) for result in await _library.send(connection, packet)
            ]
        except CLIENT_ERRORS as error:
            if late.when() <= loop.time():
                raise TimeoutError from without_frames(error)
            raise
        finally:
            late.cancel()

    async def read(self, connection: Any, select: str) -> Sequence[Sequence[Any]]:
        """Return the rows of one statement, which is one snapshot."""
        if self._pool is None:
            (result,) = await self.run(connection, select)
        else:  # its session may keep an old snapshot
            *_, result, _end = await self.run(connection, *self._beginning, select, "COMMIT")
        return result.rows

    async def write(self, connection: Any, statements: Sequence[str]) -> None:
        """Run a whole transaction."""
        if self._pool is None and len(statements) == 1:
            await self.run(connection, *statements)
        else:
            await self.run(connection, *self._beginning, *statements, "COMMIT")

    async def begin(self, connection: Any, statements: Sequence[str]) -> list[Result]:
        """Begin a transaction with these statements; return the result of each."""
        return (await self.run(connection, *self._beginning, *statements))[len(self._beginning) :]

    async def commit(self, connection: Any, statements: Sequence[str] = ()) -> None:
        """Commit after these statements."""
        await self.run(connection, *statements, "COMMIT")

    async def rollback(self, connection: Any) -> None:
        """Roll back, if the connection still exists."""
        if self.alive(connection):
            await self.run(connection, "ROLLBACK")

    async def close(self) -> None:
        """Close our own connections. The application's pool stays open."""
        self.closed = True
        await self._own.close()

    @property
    def _beginning(self) -> tuple[str, ...]:
        return ("BEGIN",) if self._pool is None else (_READ_COMMITTED, "BEGIN")

    def _packets(self, statements: Sequence[str]) -> Iterator[str]:
        if not self.options.multi_statements:
            yield from statements
            return
        packet: list[str] = []
        size = 0
        for statement in statements:
            if packet and size + len(statement) > self.room:
                yield ";".join(packet)
                packet, size = [], 0
            packet.append(statement)
            size += len(statement) + 1
        yield ";".join(packet)

    async def _connect(self) -> Any:
        options = self.options
        try:
            async with asyncio.timeout(options.connect_timeout):
                connection = await _library.connect(
                    options.client,
                    tls=self._tls,
                    host=options.host,
                    port=options.port,
                    unix_socket=options.unix_socket,
                    user=options.user,
                    password=options.password,
                    db=options.database,
                )
                try:
                    for statement in _session(options):
                        await _library.send(connection, statement)
                except BaseException:
                    _library.abort(connection)
                    raise
        except TimeoutError as error:
            raise no_connection_in_time(self.place) from without_frames(error)
        return connection


def _session(options: Options) -> tuple[str, str]:
    """Return the settings of our sessions, whatever the server's defaults are.

    Waiting for a lock ends before the call's time-out, so that it does not continue after its caller has gone.
    """
    settings = {
        "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        "time_zone": "'+00:00'",
        "autocommit": 1,  # the library only sets it if the server's greeting says that it is off
        "innodb_lock_wait_timeout": max(1, int(options.timeout / 3)),
    }
    return (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in settings.items()),
    )
