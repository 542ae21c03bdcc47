"""The driver on Redis passes the conformance suite: with connections of its own, and on the application's client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from holdfast_conformance import Borrowed, DriverConformance
from holdfast_conformance.servers import running
from holdfast_drivers.redis import RedisDriver
from redis.asyncio import Redis


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
