"""The driver: the contract's verbs, each a few statements on a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

from limpet import ConfigurationError, LimpetError
from limpet.driver import Append, Capabilities, Health, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import (
    SecretUrl,
    SerializationFailure,
    ServerDriver,
    hidden,
    keywords,
    on_connection,
    retry_transaction,
    unconditional_puts,
    without_frames,
)

from ._client import Client, place_of
from ._commands import Commands
from ._errors import CLIENT_ERRORS, lost_race, of_mysql
from ._health import durability, examine, look
from ._layout import Names, migrate
from ._library import Library, library_of
from ._options import Options, Ssl

__all__ = ["MysqlDriver"]

T = TypeVar("T")

_MIB = 1024 * 1024
_FREED = 100


class MysqlDriver(ServerDriver[Client]):
    """Items in one table of a MySQL or MariaDB database, shared by any number of processes and machines.

    An acknowledged write is committed. Batches lock the keys that they name, in order, and are judged by the server's
    clock; a lost race or a deadlock is played again.
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

        The database has to exist; the table is made when it is missing. `pool_size` is how many connections are opened
        at most, each when it is first needed; `connect_timeout` and `timeout` are seconds. `ssl` is `disable`,
        `require`, `verify-ca` or `verify-full`, with PEM files in `ssl_ca`, `ssl_cert` and `ssl_key`.
        `multi_statements=False` sends statements one by one, for a proxy that refuses several at once. `client` is the
        library that connects. Raises `ConfigurationError`; the server is asked by `open`.
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
        room = min(client.room // 2, client.largest or client.room)  # half: values travel in hexadecimal digits
        return replace(most, durable=durability(server), max_value_bytes=min(most.max_value_bytes, room))

    async def _database(self, client: Client, connection: Any) -> str:
        ((database,),) = await client.read(connection, "SELECT DATABASE()")
        if database is None:
            raise ConfigurationError(
                "no database given, and the pool's connections have none: pass database= to the driver"
            )
        return database.decode() if isinstance(database, bytes) else str(database)

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        return await self._on_connection(lambda connection: self._commands.fetch(connection, keys, values))

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        async def write(connection: Any) -> list[Outcome]:
            outcomes = await self._written(connection, units)
            if self._may_free():
                with suppress(*CLIENT_ERRORS):  # what was written stays written
                    await self._commands.free(connection, _FREED)
            return outcomes

        return await self._on_connection(write)

    async def _on_connection(self, act: Callable[[Any], Awaitable[T]]) -> T:
        client = self._opened
        return await on_connection(
            client.connection, act, ended=lambda connection: not client.alive(connection), errors=CLIENT_ERRORS
        )

    async def _written(self, connection: Any, units: Sequence[Unit]) -> list[Outcome]:
        return await retry_transaction(
            lambda part: self._try(connection, part),
            units,
            races=(),
            place=self._server_place,
            seconds=self._options.timeout,
        )

    async def _try(self, connection: Any, units: Sequence[Unit]) -> Sequence[Outcome]:
        client, commands = self._opened, self._commands
        sent = True
        try:
            if (puts := unconditional_puts(units)) is not None:
                await commands.put(connection, puts)
                return [None] * len(units)
            if len(units) == 1 and isinstance(units[0], Append) and self._options.multi_statements:
                first = await commands.append(connection, units[0])
                if first is not None:
                    return [first]
            sent = False
            outcomes, ending = await commands.play(connection, units)
            sent = bool(ending)
            await client.commit(connection, ending)
        except SerializationFailure:
            await client.rollback(connection)
            raise
        except LimpetError:
            raise
        except self.client_errors as error:
            if lost_race(error):
                await client.rollback(connection)
                raise SerializationFailure from without_frames(error)
            raise of_mysql(error, self._server_place, sent=sent) from without_frames(error)
        return outcomes

    async def _list(self, range: Range) -> Page:
        return await self._on_connection(lambda connection: self._commands.list_page(connection, range))

    async def _clear(self, base: Key) -> tuple[int, bool]:
        return await self._removing(lambda connection: self._commands.clear(connection, base))

    async def _purge(self) -> tuple[int, bool]:
        freed = await self._removing(self._commands.free)
        return freed, freed > 0

    async def _removing(self, act: Callable[[Any], Awaitable[T]]) -> T:
        """Again after a deadlock: what was removed by then is there again."""
        async with self._opened.connection() as connection:
            while True:
                try:
                    return await act(connection)
                except CLIENT_ERRORS as error:
                    if not lost_race(error):
                        raise
                    await self._opened.rollback(connection)

    async def _health(self) -> Health:
        async with self._opened.connection() as connection:
            return await examine(self._opened, connection, self._names)

    def _translate(self, error: Exception) -> LimpetError:
        return of_mysql(error, self._server_place)
