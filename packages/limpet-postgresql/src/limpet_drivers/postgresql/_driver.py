"""The driver: the contract's verbs, each a few statements on a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

import asyncpg
from limpet import ConfigurationError, LimpetError
from limpet.driver import Append, Capabilities, Health, Outcome, Unit
from limpet.driver.kit import (
    SecretUrl,
    SqlDriver,
    Subscription,
    hidden,
    keywords,
    unconditional_puts,
)

from ._client import Client
from ._commands import Commands
from ._errors import CLIENT_ERRORS, NO_RIGHTS, RACES, ends_connection, of_postgresql
from ._health import check_path, durability, examine, pooled
from ._layout import Names, add_triggers, migrate
from ._options import Options, Ssl

__all__ = ["PostgresqlDriver"]

T = TypeVar("T")

_MIB = 1024 * 1024


class PostgresqlDriver(SqlDriver[Client]):
    """Stores items in one table of a PostgreSQL database, shared by any number of processes and machines.

    An acknowledged write is committed. Batches lock their keys, in order, and are evaluated by the server's
    clock. After a lost race or a deadlock, the transaction is retried.
    """

    capabilities = Capabilities(
        durable="disk",
        shared=True,
        watch=True,
        append=True,
        parallel=4,
        max_value_bytes=32 * _MIB,
        max_batch_bytes=64 * _MIB,
        max_writes=16_384,
        max_keys=16_384,
    )
    _commands: Commands
    client_errors: ClassVar[tuple[type[Exception], ...]] = CLIENT_ERRORS

    def __init__(
        self,
        *,
        pool: asyncpg.Pool[Any] | None = None,
        host: str | None = None,
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
        database: str | None = None,
        ssl: Ssl | None = None,
        ssl_ca: str | None = None,
        ssl_cert: str | None = None,
        ssl_key: str | None = None,
        schema: str = "public",
        table: str = "limpet",
        pool_size: int = 8,
        connect_timeout: float = 10.0,
        timeout: float = 30.0,
        watch: bool = False,
        pgbouncer: bool = False,
    ) -> None:
        """A server, or the application's own `pool`, which is used and never closed.

        Defaults are those of `psql` (`PGHOST`, `PGUSER`, ...). Of several hosts (`one:5432,two:5433`), the writable one
        is used. `ssl` is libpq's `sslmode`; `ssl_ca` is the file of the authority to trust, or `system`; `ssl_cert` and
        `ssl_key` are the client certificate and its key. The table and its schema are created if they are missing.
        `pool_size` is the maximum number of connections, opened when they are needed. `connect_timeout` and `timeout`
        are in seconds. `watch=True` adds triggers that announce every change, whoever makes it. `pgbouncer=True` keeps
        nothing in a session, for a pooler in transaction mode. Raises `ConfigurationError`. Only `open` contacts the
        server.
        """
        super().__init__()
        password = hidden(password)
        self._options = Options(
            host=host, port=port, user=user, password=password, database=database, ssl=ssl, ssl_ca=ssl_ca,
            ssl_cert=ssl_cert, ssl_key=ssl_key, schema=schema, table=table,
            pool_size=pool_size, connect_timeout=connect_timeout, timeout=timeout, watch=watch, pgbouncer=pgbouncer,
        )  # fmt: skip
        if pool is not None and self._options.connecting():
            raise ConfigurationError("a pool already knows its server: pass a pool, or host, user and so on, not both")
        self._pool = pool
        self._timeout = timeout
        self._names = Names(schema, table)
        self._commands = Commands(self._names)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`postgresql://user:password@host:port/database?schema=agents&pool_size=4`."""
        url = SecretUrl(url)
        return cls(**keywords(Options.from_url(url)))

    def _connect(self) -> Client:
        return Client(self._options, self._pool)

    @property
    def tls_problem(self) -> str | None:
        if self._pool is not None:
            return "the application's pool does not show whether it uses TLS: pass a URL, or leave out require_tls"
        return self._options.tls_problem

    @property
    def connections_made(self) -> int:
        return self._opened.connections_made

    def _place(self) -> str:
        return self._options.place

    async def _prepare(self, client: Client) -> Capabilities:
        async with client.connection() as connection:
            await check_path(connection, self._options.place)
            if self._pool is None and await pooled(connection, self._options):
                raise ConfigurationError(
                    f"{self._options.place} is behind a pooler that switches connections: pass pgbouncer=true"
                )
            await migrate(connection, self._names, self._options.place)
            if self._options.watch:
                await add_triggers(connection, self._names)
            with suppress(*NO_RIGHTS):  # a user with read-only access can open it too
                await self._commands.warm(connection)
            durable = await durability(connection)
        return replace(type(self).capabilities, durable=durable, watch=self._options.watch)

    async def _on_connection(self, act: Callable[[Any], Awaitable[T]]) -> T:
        async def acting(connection: Any) -> T:
            try:
                return await act(connection)
            except CLIENT_ERRORS as error:
                if ends_connection(error) or ends_connection(error.__cause__):
                    connection.terminate()  # the server has announced it, and the socket may not have noticed yet
                raise

        return await super()._on_connection(acting)

    async def _at_once(self, connection: Any, units: Sequence[Unit]) -> Sequence[Outcome] | None:
        puts = unconditional_puts(units)
        if puts is not None and await self._commands.put(connection, puts):
            return [None] * len(units)
        if len(units) == 1 and isinstance(units[0], Append):
            first = await self._commands.append(connection, units[0])
            return None if first is None else [first]
        return None

    async def _begin(
        self, connection: Any, units: Sequence[Unit]
    ) -> tuple[Sequence[Outcome], Callable[[], Awaitable[None]] | None]:
        transaction = connection.transaction(isolation="read_committed")
        await transaction.start()
        try:
            outcomes = await self._commands.play(connection, units)
        except BaseException:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        return outcomes, transaction.commit

    async def _roll_back(self, connection: Any) -> None:
        """Nothing: `_begin` has done so, and a statement or a commit that fails undoes itself."""

    def _is_race(self, error: Exception) -> bool:
        return isinstance(error, RACES)

    def _is_over(self, connection: Any) -> bool:
        return bool(connection.is_closed())

    async def _health(self) -> Health:
        async with self._opened.connection() as connection:
            return await examine(connection, self._options)

    def _listening(self, subscription: Subscription) -> AbstractAsyncContextManager[None]:
        return self._opened.listening(self._names.channel, subscription)

    def _cannot_watch(self) -> str:
        return "open the driver with watch=True to be notified of changes"

    def _translate(self, error: Exception, *, sent: bool = False) -> LimpetError:
        return of_postgresql(error, self._options.place, sent=sent)
