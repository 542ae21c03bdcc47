"""A primary that was demoted, a connection that is half-open, messages of strangers, and a client with a small pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from limpet import create_storage
from limpet.driver import Put, Range
from limpet_conformance.servers import Proxy, Server, find, running
from limpet_drivers.redis import RedisDriver, _servers
from redis.asyncio import BlockingConnectionPool, Redis


@pytest.fixture
def base() -> str:
    return f"b{uuid4().hex}"


@pytest.fixture
async def client() -> AsyncIterator[Redis]:
    client = Redis.from_url(running("redis").url)
    yield client
    await client.aclose()


def address(server: Server) -> tuple[str, int]:
    host, _, port = server.url.partition("://")[2].partition("/")[0].partition(":")
    return host, int(port)


async def following(replica: Redis) -> None:
    for _ in range(400):
        if (await replica.info("replication"))["master_link_status"] == "up":
            return
        await asyncio.sleep(0.05)
    pytest.fail("the replica does not follow")


async def test_a_demoted_primary_is_left_for_the_one_that_has_its_name_now(base: str) -> None:
    one, two = find("redis"), find("redis")
    try:
        async with (
            Redis.from_url(one.url) as first,
            Redis.from_url(two.url) as second,
            Proxy(one.url) as proxy,
            RedisDriver(proxy.url, base=base) as driver,
        ):
            await driver.commit([[Put("kv!@a", "1")]])
            await second.replicaof(*address(one))
            await following(second)
            await second.replicaof("NO", "ONE")
            await first.replicaof(*address(two))
            proxy._port = address(two)[1]  # the name follows; connections stay where they are
            assert await driver.commit([[Put("kv!@a", "2")]]) == [None]
            assert [item and item.value for item in await driver.get(["kv!@a"])] == ["2"]
    finally:
        one.end()
        two.end()


async def test_a_watch_on_a_half_open_connection_begins_anew(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_servers, "_QUIET", 0.3)
    server = running("redis")
    async with Proxy(server.url) as proxy, RedisDriver(proxy.url, base=base, timeout=3) as driver:
        hints = driver.watch("kv")
        assert await anext(hints) is None
        await asyncio.sleep(1)
        assert proxy.connections == 2, "a connection that is only quiet was given up"
        proxy.silence()
        assert await asyncio.wait_for(anext(hints), 10) is None
        async with RedisDriver(server.url, base=base) as other:
            await other.commit([[Put("kv!@a", "1")]])
        assert await asyncio.wait_for(anext(hints), 10) == frozenset({"kv!@a"})
        await hints.aclose()


@pytest.mark.parametrize("forged", [b"storage!garbage garbage", b"\xff\xfe", b"storage", b"storage!", b"storage!@x!n"])
async def test_messages_of_strangers_end_no_watch(base: str, client: Redis, forged: bytes) -> None:
    seen: list[tuple[str, str]] = []
    url = f"{running('redis').url}?base={base}"
    async with create_storage(url) as storage, create_storage(url) as other:
        await storage.watch(lambda event, key: seen.append((event, key)))
        await client.publish(f"{{{base}}}:changed", forged)
        await other.set_item("after", 1)
        for _ in range(200):
            if ("update", "after") in seen:
                break
            await asyncio.sleep(0.02)
        assert ("update", "after") in seen


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_client_with_a_small_pool_is_waited_for(base: str, blocking: bool) -> None:
    url = running("redis").url
    pool = BlockingConnectionPool.from_url(url, max_connections=2, timeout=5) if blocking else None
    client = Redis(connection_pool=pool) if pool else Redis.from_url(url, max_connections=2)
    async with client, RedisDriver(client=client, base=base) as driver:
        await driver.commit([[Put("kv!@a", "1")]])
        pages = await asyncio.gather(*(driver.scan(Range("kv")) for _ in range(60)))
        assert {len(page.items) for page in pages} == {1}
    if pool is not None:  # a client leaves open what it was given
        await pool.disconnect()
