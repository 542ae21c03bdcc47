"""The driver: the contract's verbs, each a few statements on a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

from limpet import ConfigurationError, LimpetError
from limpet.driver import Append, Capabilities, Health, Outcome, Unit
from limpet.driver.kit import (
    SecretUrl,
    SqlDriver,
    hidden,
    keywords,
    unconditional_puts,
)

from ._client import Client, place_of
from ._commands import Commands
from ._errors import CLIENT_ERRORS, lost_race, of_mysql
from ._health import durability, examine, look
from ._layout import Names, migrate
from ._library import Library, library_of
from ._options import Options, Ssl

__all__ = ["MysqlDriver"]

_MIB = 1024 * 1024


class MysqlDriver(SqlDriver[Client]):
    """Stores items in one table of a MySQL or MariaDB database, shared by any number of processes and machines.

    An acknowledged write is committed. Batches lock their keys, in order, and are evaluated by the server's
    clock. After a lost race or a deadlock, the transaction is retried.
    """

    capabilities = Capabilities(
        durable="disk",
        shared=True,
        append=True,
        parallel=4,
        max_value_bytes=32 * _MIB,
        max_batch_bytes=64 * _MIB,
        max_writes=4096,
        max_keys=4096,
    )
    _commands: Commands
    client_errors: ClassVar[tuple[type[Exception], ...]] = CLIENT_ERRORS

    def __init__(
        self,
        *,
        pool: Any | None = None,
        host: str = "localhost",
        port: int = 3306,
        user: str | None = None,
        password: str | None = None,
        database: str | None = None,
        unix_socket: str | None = None,
        ssl: Ssl = "disable",
        ssl_ca: str | None = None,
        ssl_cert: str | None = None,
        ssl_key: str | None = None,
        table: str = "limpet",
        pool_size: int = 8,
        connect_timeout: float = 10.0,
        timeout: float = 30.0,
        multi_statements: bool = True,
        client: Library = "aiomysql",
    ) -> None:
        """A server, or the application's own `pool` of aiomysql or asyncmy, which is used and never closed.

        The database must exist; the table is created if it is missing. `pool_size` is the maximum number of
        connections, opened when they are needed. `connect_timeout` and `timeout` are in seconds. `ssl` is `disable`,
        `require`, `verify-ca` or `verify-full`, with PEM files in `ssl_ca`, `ssl_cert` and `ssl_key`.
        `multi_statements=False` sends statements one by one, for a proxy that refuses several at once. `client` is the
        library that connects. Raises `ConfigurationError`. Only `open` contacts the server.
        """
        super().__init__()
        password = hidden(password)
        self._options = Options(
            host=host, port=port, user=user, password=password, database=database, unix_socket=unix_socket, ssl=ssl,
            ssl_ca=ssl_ca, ssl_cert=ssl_cert, ssl_key=ssl_key, table=table, pool_size=pool_size,
            connect_timeout=connect_timeout, timeout=timeout, multi_statements=multi_statements, client=client,
        )  # fmt: skip
        if pool is not None:
            library_of(pool)
            if self._options.connecting != Options(database=database).connecting:
                raise ConfigurationError(
                    "a pool already knows its server: pass a pool, or host, user and so on, not both"
                )
        elif database is None:
            raise ConfigurationError("no database given: write mysql://host/database; the database must exist")
        self._pool = pool
        self._timeout = timeout
        self._server_place = place_of(self._options, pool)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`mysql://user:password@host:port/database?table=agents&pool_size=4`."""
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
        return self._server_place

    async def _prepare(self, client: Client) -> Capabilities:
        async with client.connection() as connection:
            server = await look(client, connection)
            client.learn(int(server["max_allowed_packet"]))
            database = self._options.database or await self._database(client, connection)
            self._names = Names(database, self._options.table)
            await migrate(client, connection, self._names)
        self._commands = Commands(client, self._names)
        most = type(self).capabilities
        room = min(client.room // 2, client.largest or client.room)  # half: values are sent as hexadecimal digits
        return replace(most, durable=durability(server), max_value_bytes=min(most.max_value_bytes, room))

    async def _database(self, client: Client, connection: Any) -> str:
        ((database,),) = await client.read(connection, "SELECT DATABASE()")
        if database is None:
            raise ConfigurationError(
                "no database given, and the pool's connections have none: pass database= to the driver"
            )
        return database.decode() if isinstance(database, bytes) else str(database)

    async def _at_once(self, connection: Any, units: Sequence[Unit]) -> Sequence[Outcome] | None:
        if (puts := unconditional_puts(units)) is not None:
            await self._commands.put(connection, puts)
            return [None] * len(units)
        if len(units) == 1 and isinstance(units[0], Append) and self._options.multi_statements:
            first = await self._commands.append(connection, units[0])
            return None if first is None else [first]
        return None

    async def _begin(
        self, connection: Any, units: Sequence[Unit]
    ) -> tuple[Sequence[Outcome], Callable[[], Awaitable[None]] | None]:
        outcomes, writing = await self._commands.play(connection, units)
        if not writing:
            await self._opened.commit(connection)
            return outcomes, None
        return outcomes, partial(self._opened.commit, connection, writing)

    async def _roll_back(self, connection: Any) -> None:
        await self._opened.rollback(connection)

    def _is_race(self, error: Exception) -> bool:
        return lost_race(error)

    def _is_over(self, connection: Any) -> bool:
        return not self._opened.alive(connection)

    async def _health(self) -> Health:
        async with self._opened.connection() as connection:
            return await examine(self._opened, connection, self._names)

    def _translate(self, error: Exception, *, sent: bool = False) -> LimpetError:
        return of_mysql(error, self._server_place, sent=sent)
