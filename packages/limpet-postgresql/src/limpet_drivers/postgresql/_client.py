"""Connections: the driver's own or the application's pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import asyncpg
from limpet import ConfigurationError
from limpet.driver.kit import (
    NONSENSE,
    Connections,
    Subscription,
    descriptor_of,
    hang_up,
    no_connection_in_time,
    tls_failure_reason,
    unreachable,
    without_frames,
)

from ._cleartext import CleartextGuard
from ._errors import CLIENT_ERRORS, of_postgresql
from ._options import Options

__all__ = ["Client"]


_QUIET = 10.0
"""Seconds of silence after which a listening connection is checked."""


class Client:
    """Gives each call a connection. asyncpg's own pool costs as much as a short query."""

    def __init__(self, options: Options, pool: asyncpg.Pool[Any] | None) -> None:
        self.options = options
        self._pool = pool
        self._connecting = options.connecting()
        self._own: Connections[asyncpg.Connection[Any]] = Connections(
            self._connect,
            alive=_alive,
            end=_end,
            size=options.pool_size,
            timeout=options.connect_timeout,
            place=options.place,
            abort=_abort,
            socket=lambda connection: descriptor_of(connection._transport),  # type: ignore[attr-defined]
        )
        self._listening: set[Subscription] = set()
        self.closed = False

    @property
    def connections_made(self) -> int:
        """How many connections the driver itself has made."""
        return self._own.made

    def connection(self) -> AbstractAsyncContextManager[Any]:
        """Lend a connection for one call. After an error it is not used again. Raises the client's errors."""
        return self._own.one() if self._pool is None else self._borrowed(self._pool)

    @asynccontextmanager
    async def _borrowed(self, pool: asyncpg.Pool[Any]) -> AsyncIterator[Any]:
        connection = await pool.acquire(timeout=self.options.connect_timeout)
        try:
            yield connection
        finally:
            with suppress(*CLIENT_ERRORS):  # an error while giving it back says nothing about the call
                await pool.release(connection)

    @asynccontextmanager
    async def listening(self, channel: str, subscription: Subscription) -> AsyncIterator[None]:
        """Push every notification on the channel, and the end of the connection."""

        def hear(_connection: object, _pid: object, _channel: object, said: str) -> None:
            subscription.push(said)

        def end(_connection: object) -> None:
            subscription.end()

        # A separate connection: a watch keeps it for as long as it lasts.
        connection: Any = await (self._pool.acquire() if self._pool is not None else self._connect())
        self._listening.add(subscription)
        if self._pool is None:
            self._own.add(connection)
        try:
            connection.add_termination_listener(end)
            await connection.add_listener(channel, hear)
            asking = asyncio.create_task(_keep_asking(connection, self.options.timeout))
            try:
                yield
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        finally:
            self._listening.discard(subscription)
            connection.remove_termination_listener(end)
            if self._pool is None:
                self._own.discard(connection)
                connection.terminate()
            else:
                with suppress(*CLIENT_ERRORS):
                    await connection.remove_listener(channel, hear)
                    await self._pool.release(connection)

    async def close(self) -> None:
        """Close our own connections. The application's pool stays open."""
        self.closed = True
        for subscription in self._listening:
            subscription.end()
        await self._own.close()

    async def _connect(self) -> asyncpg.Connection[Any]:
        options = self.options
        settings = {"application_name": "limpet", "jit": "off", "default_transaction_isolation": "read committed"}
        settings["search_path"] = "pg_catalog"  # so that other people's code in a schema is not found
        guard = CleartextGuard(asyncio.get_running_loop(), tls_counts=options.insists_on_tls)
        try:
            connection: asyncpg.Connection[Any] = await asyncpg.connect(
                **self._told(guard),
                timeout=options.connect_timeout,
                command_timeout=options.timeout,
                statement_cache_size=0 if options.pgbouncer else 100,
                server_settings={} if options.pgbouncer else settings,
            )
            return connection
        except TimeoutError as error:
            raise no_connection_in_time(options.place) from without_frames(error)
        except (ValueError, asyncpg.ClientConfigurationError) as error:
            if tls_failure_reason(error) is not None:
                raise of_postgresql(error, options.place) from without_frames(error)
            raise ConfigurationError(
                f"{options.place} cannot be reached with these settings: {error}"
            ) from without_frames(error)
        except NONSENSE as error:
            guard.abort()
            what = f"it sent what is not PostgreSQL's protocol: {type(error).__name__}"
            raise unreachable(options.place, what) from without_frames(error)
        except CLIENT_ERRORS as error:
            if guard.refused:
                raise ConfigurationError(
                    f"{options.place} asks for the password in cleartext, which was not sent: set ssl=verify-full (or require), "
                    "or scram-sha-256 in its pg_hba.conf"
                ) from without_frames(error)
            raise
        finally:
            guard.end()

    def _told(self, guard: CleartextGuard) -> dict[str, Any]:
        """Return what asyncpg accepts: it takes no subclass of str."""
        told = {name: str(value) if isinstance(value, str) else value for name, value in self._connecting.items()}
        return {**told, "loop": guard}


async def _keep_asking(connection: Any, timeout: float) -> None:
    """End a connection that does not respond any more: nothing reports a half-open one."""
    try:
        while True:
            await asyncio.sleep(_QUIET)
            await connection.execute("SELECT 1", timeout=min(_QUIET, timeout))
    except CLIENT_ERRORS:
        connection.terminate()


def _alive(connection: asyncpg.Connection[Any]) -> bool:
    return not connection.is_closed()


def _abort(connection: asyncpg.Connection[Any]) -> None:
    hang_up(connection._transport)  # type: ignore[attr-defined]
    connection.terminate()


async def _end(connection: asyncpg.Connection[Any]) -> None:
    """Say goodbye, within a second."""
    try:
        await connection.close(timeout=1.0)
    except CLIENT_ERRORS:
        connection.terminate()
