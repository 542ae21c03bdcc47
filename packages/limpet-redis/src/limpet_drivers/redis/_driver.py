"""The driver: the contract's verbs, each one script on the server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import ClassVar, Self

from limpet import ConfigurationError, LimpetError
from limpet.driver import Capabilities, Health, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import SecretUrl, ServerDriver, Subscription, hidden, keywords

from redis.asyncio import Redis, RedisCluster

from . import _commands
from ._client import Client
from ._errors import CLIENT_ERRORS, of_redis
from ._health import durability, evicts, examine
from ._layout import Names
from ._options import Eviction, Options

__all__ = ["RedisDriver"]

_MIB = 1024 * 1024


class RedisDriver(ServerDriver[Client]):
    """Stores items in three keys of a Redis or Valkey server or cluster, shared by any number of processes.

    A batch, and everything that is sent with it, is one script: atomic, and evaluated by the server's clock. The
    server's settings decide what an acknowledged write survives; see `capabilities.durable`.
    """

    capabilities = Capabilities(
        durable="disk",
        shared=True,
        watch=True,
        append=True,
        parallel=2,
        max_value_bytes=32 * _MIB,
        max_batch_bytes=64 * _MIB,
        max_writes=16_384,
        max_keys=16_384,
    )
    client_errors: ClassVar[tuple[type[Exception], ...]] = CLIENT_ERRORS

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        client: Redis | RedisCluster | None = None,
        base: str = "limpet",
        pool_size: int = 8,
        connect_timeout: float = 10.0,
        timeout: float = 30.0,
        eviction: Eviction = "refuse",
        ssl_ca: str | None = None,
        ssl_cert: str | None = None,
        ssl_key: str | None = None,
        ssl_check_hostname: bool = True,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
    ) -> None:
        """A URL, or the application's own `client`, a `Redis` or a `RedisCluster`: used and never closed.

        The URL is that of a server (`redis://host:port/database`), of nodes of a cluster
        (`redis+cluster://host:port,host:port`) or of sentinels (`redis+sentinel://host:port,host:port/name/database`);
        `rediss` instead of `redis` uses TLS. `base` is the prefix of the database's keys: a server can have several
        databases, and a cluster stores each in one slot. `pool_size` is the maximum number of connections, opened when
        they are needed. `connect_timeout` and `timeout` are in seconds; `timeout` is also how long a call waits for
        another primary to take over. A server that may drop any key when its memory is full is refused, unless
        `eviction="allow"`. `ssl_ca` is the file of an authority to trust instead of the system's; `ssl_cert` and
        `ssl_key` are the client certificate and its key. Raises `ConfigurationError`. Only `open` contacts the server.
        """
        super().__init__()
        url, sentinel_password = SecretUrl(url), hidden(sentinel_password)
        self._options = Options(
            url=url, base=base, pool_size=pool_size, connect_timeout=connect_timeout, timeout=timeout, eviction=eviction,
            ssl_ca=ssl_ca, ssl_cert=ssl_cert, ssl_key=ssl_key, ssl_check_hostname=ssl_check_hostname,
            sentinel_username=sentinel_username, sentinel_password=sentinel_password,
        )  # fmt: skip
        if not isinstance(client, Redis | RedisCluster | None):
            raise ConfigurationError(f"client is a {type(client).__name__}: pass a redis.asyncio.Redis or RedisCluster")
        self._borrowed = client
        self._names = Names(base)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the driver for `redis://user:password@host:port/database?base=agents&pool_size=4`, for example."""
        url = SecretUrl(url)
        return cls(**keywords(Options.from_url(url)))

    def _connect(self) -> Client:
        return Client(self._options, self._borrowed, self._names)

    @property
    def tls_problem(self) -> str | None:
        if self._borrowed is not None:
            return "the application's client does not show whether it uses TLS: pass a URL, or leave out require_tls"
        return self._options.tls_problem

    @property
    def connections_made(self) -> int:
        return self._opened.connections_made

    def _place(self) -> str:
        return self._options.place

    async def _prepare(self, client: Client) -> Capabilities:
        policy = await evicts(client)
        if policy is not None and self._options.eviction == "refuse":
            raise ConfigurationError(
                f"{self._options.place} has maxmemory-policy {policy}, which may drop any key: set it to "
                "noeviction, or pass eviction='allow' for data that may be lost"
            )
        durable = await durability(client)
        client.opened()
        return replace(type(self).capabilities, durable=durable)

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        return await _commands.fetch(self._opened, self._names, keys, values)

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await _commands.commit(self._opened, self._names, units)

    async def _list(self, range: Range) -> Page:
        return await _commands.list_page(self._opened, self._names, range)

    async def _clear(self, base: Key) -> tuple[int, bool]:
        return await _commands.clear(self._opened, self._names, base)

    async def _purge(self) -> tuple[int, bool]:
        return await _commands.purge(self._opened, self._names)

    async def _health(self) -> Health:
        return await examine(self._opened, self._names)

    def _listening(self, subscription: Subscription) -> AbstractAsyncContextManager[None]:
        return self._opened.listening(self._names.channel, subscription)

    def _translate(self, error: Exception) -> LimpetError:
        return of_redis(error, self._options.place)
