"""The driver on Redis passes the conformance suite: on a server, on a cluster, behind sentinels, and on the application's client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from limpet.driver.kit import parse_url
from limpet_conformance import Borrowed, DriverConformance
from limpet_conformance.servers import running
from limpet_drivers.redis import RedisDriver
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode


class TestRedisDriver(DriverConformance):
    capabilities = RedisDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        server = running("redis")
        self.note("origin", server.origin)
        base = uuid4().hex
        yield f"{server.url}?base={base}"
        async with Redis.from_url(server.url) as client:
            await client.delete(*(f"{{{base}}}:{part}" for part in ("items", "order", "expiry")))

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        server, _, query = url.partition("?")
        base = query.removeprefix("base=")
        async with Redis.from_url(server) as client, Redis.from_url(server, decode_responses=True) as decoding:
            yield Borrowed(
                make=lambda: RedisDriver(client=client, base=base),
                still_works=client.ping,
                settings={"decode_responses": lambda: RedisDriver(client=decoding, base=base)},
            )


def cluster(url: str, **settings: object) -> RedisCluster:
    """The application's client for a URL of ours."""
    nodes = [ClusterNode(host, port or 6379) for host, port in parse_url(url).hosts]
    return RedisCluster(startup_nodes=nodes, **settings)  # type: ignore[arg-type]


@pytest.mark.again
class TestRedisDriverOnACluster(DriverConformance):
    """Three nodes."""

    capabilities = RedisDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        server = running("redis-cluster")
        self.note("origin", server.origin)
        base = uuid4().hex
        yield f"{server.url}?base={base}"
        async with cluster(server.url) as client:
            await client.delete(*(f"{{{base}}}:{part}" for part in ("items", "order", "expiry")))

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        base = parse_url(url).query["base"]
        async with cluster(url) as client, cluster(url, decode_responses=True) as decoding:
            yield Borrowed(
                make=lambda: RedisDriver(client=client, base=base),
                still_works=client.ping,
                settings={"decode_responses": lambda: RedisDriver(client=decoding, base=base)},
            )


@pytest.mark.exhaustive
@pytest.mark.again
class TestRedisDriverBehindSentinels(DriverConformance):
    """A primary, a replica, three sentinels."""

    capabilities = RedisDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        server = running("redis-sentinel")
        self.note("origin", server.origin)
        base = uuid4().hex
        yield f"{server.url}?base={base}"
        sentinels = watching(server.url)
        async with sentinels.master_for("mymaster") as client:
            await client.delete(*(f"{{{base}}}:{part}" for part in ("items", "order", "expiry")))
        await forget(sentinels)

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        base = parse_url(url).query["base"]
        sentinels = watching(url)
        decoding = sentinels.master_for("mymaster", decode_responses=True)
        async with sentinels.master_for("mymaster") as client:
            yield Borrowed(
                make=lambda: RedisDriver(client=client, base=base),
                still_works=client.ping,
                settings={"decode_responses": lambda: RedisDriver(client=decoding, base=base)},
            )
        await decoding.aclose()
        await forget(sentinels)


def watching(url: str) -> Sentinel:
    """The application's own."""
    return Sentinel([(host, port or 26379) for host, port in parse_url(url).hosts])  # type: ignore[no-untyped-call]


async def forget(sentinels: Sentinel) -> None:
    for client in sentinels.sentinels:
        await client.aclose()
