"""Connections to the primary: the driver's own, or those of the application's client."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from random import uniform
from time import monotonic
from typing import Any, cast

from limpet import ConfigurationError, UnavailableError
from limpet.driver.kit import descriptor_of, tls_context, understood, without_frames

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError

from ._errors import CLIENT_ERRORS, of_redis
from ._layout import Names
from ._link import Link
from ._options import Address, Options
from ._route import Route, Sentinels, Single, Slot

__all__ = ["Servers", "servers_of"]


_QUIET = 10.0
"""Seconds of silence after which a listening connection is checked."""


class Servers(ABC):
    """Where connections come from. All methods raise the client's errors, or Limpet's."""

    moves: bool
    """Whether another server may replace the current one."""
    tells: bool = False
    """Whether new primaries are announced (`switches`)."""
    most: int = 2**31
    """Maximum number of connections."""
    at: Address | None = None
    """The last known address of the primary; `None` if unknown, or if it must be found again."""

    @abstractmethod
    async def connect(self) -> Any:
        """Connect to the primary."""

    @abstractmethod
    def keeps(self, connection: Any) -> bool:
        """Return whether the next call can have this connection; otherwise it is ended."""

    @abstractmethod
    async def end(self, connection: Any) -> None:
        """Close it, or give it back. Raises nothing."""

    def descriptor(self, connection: Any) -> int | None:
        """Return the socket's descriptor if the connection is ours and open: a forked child must not send on it."""
        return None

    @abstractmethod
    async def fresh(self, address: Address | None = None) -> Any:
        """Return a separate connection, closed by the caller: to the primary, or to the node in a redirection."""

    def link(self, connection: Any) -> Link | None:
        """Return what sends commands on one of our connections; `None` if the connection itself does."""
        return None

    def moved(self, address: Address | None) -> None:
        """Note that the primary is at this address now, or unknown: connections to other servers are not kept."""
        if self.moves:
            self.at = address

    def switches(self) -> AsyncIterator[Address]:
        """Yield the primary's address, and then every new one that is announced, while announcements are received."""
        raise NotImplementedError


class Own(Servers):
    """Our own connections. redis-py's retries are off."""

    def __init__(self, options: Options, base: Names) -> None:
        target = options.target
        self._timeout = options.connect_timeout
        self._asking = options.connect_timeout / (1 + len(target.hosts))  # so that all can be asked in that time
        self._common: dict[str, Any] = {
            "socket_timeout": None,  # ours is around the whole call; redis-py's loses cancellations on Python 3.11
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
            "client_name": "limpet",
        }
        if target.tls:
            self._common["context"] = tls_context(
                ca=options.ssl_ca, cert=options.ssl_cert, key=options.ssl_key, check_hostname=options.ssl_check_hostname
            )
        self._server = {"db": target.database, "username": target.username, "password": target.password}
        self._sentinel = {"username": options.sentinel_username, "password": options.sentinel_password}
        self._is_sentinel = target.kind == "sentinel"
        self._route: Route
        if self._is_sentinel:
            self._route = Sentinels(target.hosts, target.service or "")
        elif target.kind == "cluster":
            self._route = Slot(target.hosts, key_slot(base.items.encode()))
        else:
            self._route = Single(target.hosts[0])
        self.moves = self._route.moves
        self.tells = self._is_sentinel

    async def connect(self) -> Any:
        connection = await self.fresh()
        connection.link = Link(connection)
        return connection

    def link(self, connection: Any) -> Link | None:
        return None if connection.link is None else cast(Link, connection.link)

    def keeps(self, connection: Any) -> bool:
        alive = connection.is_connected and not connection.link.is_lost
        return alive and (not self.moves or (connection.host, connection.port) == self.at)

    async def end(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)

    def descriptor(self, connection: Any) -> int | None:
        return None if connection._writer is None else descriptor_of(connection._writer.transport)

    async def fresh(self, address: Address | None = None) -> Any:
        at = address or self.at
        if at is None:
            at = self.at = await self._route.find(self._ask)
        connection = await self._connected(at, self._timeout, self._server)
        if self._is_sentinel:  # sentinels may not have noticed yet that it is no longer the primary
            role, *_ = await _said(connection, "ROLE")
            if role != b"master":
                await connection.disconnect(nowait=True)
                raise UnavailableError(f"the sentinels name {at[0]}:{at[1]}, which is a replica: retry in a moment")
        return connection

    async def switches(self) -> AsyncIterator[Address]:
        assert isinstance(self._route, Sentinels)
        await self._route.find(self._ask)
        connection = await self._connected(self._route.nearest, self._asking, self._sentinel)
        try:
            await connection.send_command("SUBSCRIBE", "+switch-master", check_health=False)
            await connection.read_response(push_request=True)
            yield await self._route.find(self._ask)  # what was announced before anyone listened
            async for kind, *said in heard(connection, "+switch-master", self._asking):
                if kind != b"message":
                    continue
                service, _, _, host, port = said[-1].decode().rsplit(" ", 4)
                if service == self._route.service:
                    yield host, int(port)
        finally:
            await connection.disconnect(nowait=True)

    async def _ask(self, address: Address, *words: str) -> Any:
        settings = self._sentinel if self._is_sentinel else self._server
        try:
            async with asyncio.timeout(self._asking):
                connection = await self._connected(address, self._asking, settings)
                try:
                    return await _said(connection, *words)
                finally:
                    await connection.disconnect(nowait=True)
        except CLIENT_ERRORS as error:
            raise of_redis(error, f"{address[0]}:{address[1]}", connecting=True) from without_frames(error)

    async def _connected(self, at: Address, timeout: float, settings: dict[str, Any]) -> Any:
        connection = _Connection(host=at[0], port=at[1], socket_connect_timeout=timeout, **self._common, **settings)
        return await _connected(connection)


class Pooled(Servers):
    """The connections of the application's `Redis`."""

    moves = False

    def __init__(self, client: Redis, timeout: float) -> None:
        self._pool: Any = client.connection_pool
        self._timeout = timeout
        self.most = self._pool.max_connections
        _check(self._pool.connection_kwargs)

    async def connect(self) -> Any:
        until = monotonic() + 0.9 * self._timeout
        for attempt in count():
            try:
                return await self._pool.get_connection()
            except ConnectionError as error:
                if "oo many connections" not in str(error):  # a pool that does not wait
                    raise
                if monotonic() > until:
                    raise UnavailableError(
                        f"no connection of the client's pool became free within {self._timeout:g} s: raise its "
                        f"max_connections, which is {self.most}"
                    ) from without_frames(error)
            await asyncio.sleep(uniform(0.5, 1.0) * min(0.05, 0.001 * 2 ** min(attempt, 6)))
        raise AssertionError("unreachable: the loop ends by a connection or an error")

    def keeps(self, connection: Any) -> bool:
        return False  # the application wants it back

    async def end(self, connection: Any) -> None:
        with suppress(*CLIENT_ERRORS):  # an error while giving it back says nothing about the call
            await self._pool.release(connection)

    async def fresh(self, address: Address | None = None) -> Any:
        return await _connected(self._pool.make_connection())


class Clustered(Servers):
    """Connections of the application's `RedisCluster` to its node for our slot, bypassing its retries."""

    moves = True

    def __init__(self, client: RedisCluster, base: Names) -> None:
        self._client: Any = client
        _check(client.get_connection_kwargs())
        self._key = base.items
        self._lost = False
        self._nodes: dict[Any, Any] = {}

    async def connect(self) -> Any:
        node = await self._node(self.at)
        connection = node.acquire_connection()
        self._nodes[connection] = node
        try:
            if not _alive(connection):
                await connection.disconnect(nowait=True)
                await connection.connect()
        except BaseException:
            await self.end(connection)
            raise
        return connection

    def keeps(self, connection: Any) -> bool:
        return False

    async def end(self, connection: Any) -> None:
        with suppress(*CLIENT_ERRORS):
            self._nodes.pop(connection).release(connection)

    async def fresh(self, address: Address | None = None) -> Any:
        node = await self._node(address or self.at)
        return await _connected(node.connection_class(**node.connection_kwargs))

    def moved(self, address: Address | None) -> None:
        self.at, self._lost = address, address is None

    async def _node(self, address: Address | None) -> Any:
        await self._client.initialize()
        if self._lost:
            self._lost = False
            await self._client.nodes_manager.initialize()
        if address is None:
            return self._client.get_node_from_key(self._key)
        node = self._client.get_node(*address)
        if node is None:
            await self._client.nodes_manager.initialize()
            node = self._client.get_node(*address)
        if node is None:
            raise UnavailableError(f"the client knows no node at {address[0]}:{address[1]}: retry")
        return node


async def heard(connection: Any, channel: str, timeout: float) -> AsyncIterator[list[Any]]:
    """Yield what arrives on a subscribed connection, as long as the other end responds.

    Nothing reports a half-open connection, so after a silence it subscribes again, which requires an answer.
    """
    asked = False
    while True:
        said = await connection.read_response(timeout=min(_QUIET, timeout) if asked else _QUIET, push_request=True)
        if said is not None:
            asked = False
            yield said if isinstance(said, list) else [said]
        elif asked:
            return
        else:
            asked = True
            await connection.send_command("SUBSCRIBE", channel, check_health=False)


def servers_of(options: Options, client: Redis | RedisCluster | None, names: Names) -> Servers:
    """Raises `ConfigurationError` for a client whose settings change results, and for unusable files."""
    if client is None:
        return Own(options, names)
    if isinstance(client, RedisCluster):
        return Clustered(client, names)
    return Pooled(client, options.connect_timeout)


class _Connection(Connection):
    """With a TLS context that all connections share: redis-py would load all authorities for each one."""

    def __init__(self, *, context: ssl.SSLContext | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._context = context
        self.link: Link | None = None

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}


async def _connected(connection: Any) -> Any:
    try:
        with understood("Redis", CLIENT_ERRORS):
            await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


async def _said(connection: Any, *words: str) -> Any:
    await connection.send_command(*words, check_health=False)
    return await connection.read_response()


def _alive(connection: Any) -> bool:
    """Return whether neither side has closed it. redis-py itself would check by reading, at every call."""
    return bool(connection.is_connected) and not connection._reader.at_eof()


def _check(settings: Any) -> None:
    if settings.get("decode_responses"):
        raise ConfigurationError("the client has decode_responses=True, which turns bytes into text: use one without")
