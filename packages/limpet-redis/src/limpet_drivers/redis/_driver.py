"""The driver: the contract's verbs, each one script on the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Self

from limpet import ConfigurationError, LimpetError
from limpet.driver import BaseDriver, Capabilities, Health, Item, Key, Page, Verdict, Work, check_key, hints

from redis.asyncio import Redis, RedisCluster

from . import _commands
from ._client import Client
from ._errors import CLIENT_ERRORS, of_redis
from ._health import durability, evicts, examine
from ._layout import Names
from ._options import Eviction, Options

__all__ = ["RedisDriver"]

_MIB = 1024 * 1024


class RedisDriver(BaseDriver):
    """Items in three keys of a Redis or Valkey server or cluster, shared by any number of processes and machines.

    A batch, and whatever travels with it, is one script: atomic, judged by the server's clock. What an acknowledged
    write survives is the server's setting; `capabilities.durable` says it.
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
        `rediss` in the place of `redis` is TLS. `base` is what the store's keys begin with: several live side by side,
        in a cluster each in one slot. `pool_size` is how many connections are opened at most, each when it is first
        needed; `connect_timeout` and `timeout` are seconds; so long does a call wait for a primary, too, where another
        one may take over. A server that may drop any key when its memory is full is refused, unless
        `eviction="allow"`. `ssl_ca` is the file of the authority to trust instead of the system's, `ssl_cert` and
        `ssl_key` are what to show. Raises `ConfigurationError`; the server is asked by `open`.
        """
        super().__init__()
        self._options = Options(
            url=url, base=base, pool_size=pool_size, connect_timeout=connect_timeout, timeout=timeout, eviction=eviction,
            ssl_ca=ssl_ca, ssl_cert=ssl_cert, ssl_key=ssl_key, ssl_check_hostname=ssl_check_hostname,
            sentinel_username=sentinel_username, sentinel_password=sentinel_password,
        )  # fmt: skip
        if not isinstance(client, Redis | RedisCluster | None):
            raise ConfigurationError(f"client is a {type(client).__name__}: give a redis.asyncio.Redis or RedisCluster")
        self._borrowed = client
        self._client: Client | None = None
        self._names = Names(base)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`redis://user:password@host:port/database?base=agents&pool_size=4`, and so for clusters and sentinels."""
        options = Options.from_url(url)
        return cls(**{name: getattr(options, name) for name in Options.__dataclass_fields__})

    async def _open(self) -> None:
        client = Client(self._options, self._borrowed, self._names)
        try:
            policy = await evicts(client)
            if policy is not None and self._options.eviction == "refuse":
                raise ConfigurationError(
                    f"{self._options.place} has maxmemory-policy {policy}, which drops whatever it likes: set it to "
                    "noeviction, or pass eviction='allow' for what may be lost"
                )
            durable = await durability(client)
        except BaseException:
            await client.close()
            raise
        client.opened()
        self._client = client
        self.capabilities = replace(type(self).capabilities, durable=durable)

    async def _close(self) -> None:
        await self._opened.close()

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        return await _commands.fetch(self._opened, self._names, keys, values)

    async def _commit(self, work: Sequence[Work]) -> list[Verdict]:
        return await _commands.commit(self._opened, self._names, work)

    async def _list(
        self, base: Key, after: Key | None, before: Key | None, reverse: bool, limit: int, values: bool
    ) -> Page:
        return await _commands.list_page(self._opened, self._names, base, after, before, reverse, limit, values)

    async def clear(self, base: Key) -> int:
        if base != "":
            check_key(base)
        return await self._repeat(lambda: _commands.clear(self._opened, self._names, base))

    async def purge(self) -> int:
        return await self._repeat(lambda: _commands.purge(self._opened, self._names))

    async def health(self) -> Health:
        with self._call():
            return await examine(self._opened, self._names)

    def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        if base != "":
            check_key(base)
        self._check_open()
        client = self._opened
        channel = self._names.channel
        return hints(
            lambda hearing: client.listening(channel, hearing),
            base,
            errors=CLIENT_ERRORS,
            translate=self._translate,
            closed=lambda: client.closed,
        )

    async def _repeat(self, act: Callable[[], Awaitable[tuple[int, bool]]]) -> int:
        """In many short scripts: a long one would keep everybody else waiting."""
        total, more = 0, True
        with self._call():
            while more:
                done, more = await act()
                total += done
        return total

    @property
    def _opened(self) -> Client:
        if self._client is None:
            self._check_open()
        assert self._client is not None
        return self._client

    def _translate(self, error: Exception) -> LimpetError:
        return of_redis(error, self._options.place)
