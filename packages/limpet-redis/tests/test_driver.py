"""What is on the server, what is counted there, and what the driver refuses to be opened on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from limpet import ConfigurationError, CorruptDataError, LimpetError, create_storage
from limpet.driver import Check, Delete, Put, Range
from limpet_conformance.servers import Server, find, running
from limpet_drivers.redis import RedisDriver
from redis.asyncio import Redis


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One of this module's own: its settings are changed and its commands counted."""
    if not running("redis").ours:
        pytest.skip("the server belongs to somebody else: its settings are not changed")
    own = find("redis")
    yield own
    own.end()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        await client.flushdb()
        await client.config_resetstat()
        yield client


async def scripts(client: Redis) -> int:
    """How many scripts the server has run."""
    stats = await client.info("commandstats")
    return sum(int(stats[f"cmdstat_{name}"]["calls"]) for name in ("eval", "evalsha") if f"cmdstat_{name}" in stats)


async def test_a_store_is_three_keys_and_nothing_else_is_touched(server: Server, client: Redis) -> None:
    await client.set("limpet", "somebody else's")
    await client.set("{agents}:mine", "somebody else's, too")
    async with create_storage(f"{server.url}?base=agents") as storage:
        await storage.set_item("a", 1, ttl=100)
        await storage.set_item("b", 2)
        assert set(await client.keys("{agents}:*")) == {
            b"{agents}:items",
            b"{agents}:order",
            b"{agents}:expiry",
            b"{agents}:mine",
        }
        await storage.clear()
        await storage.aclose()
    assert await client.get("limpet") == b"somebody else's"
    assert await client.get("{agents}:mine") == b"somebody else's, too"


async def test_a_thousand_tasks_at_once_are_a_few_scripts(server: Server, client: Redis) -> None:
    async with create_storage(server.url) as storage:
        await storage.set_item("first", 0)
        before = await scripts(client)
        await asyncio.gather(*(storage.set_item(f"k{n}", n) for n in range(1000)))
        assert await scripts(client) - before <= 10
        before = await scripts(client)
        assert await asyncio.gather(*(storage.get_item(f"k{n}") for n in range(1000))) == list(range(1000))
        assert await scripts(client) - before <= 10


async def test_a_thousand_tasks_without_grouping_wait_for_a_connection(server: Server, client: Redis) -> None:
    async with RedisDriver(server.url, base=uuid4().hex) as driver:
        await asyncio.gather(*(driver.apply([Put(f"kv!@{n}", "x")]) for n in range(1000)))
        assert len(await client.client_list()) <= 8 + 2


async def test_a_server_that_drops_what_it_likes_is_refused_unless_allowed(server: Server, client: Redis) -> None:
    await client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigurationError, match="noeviction"):
            await RedisDriver(server.url).open()
        async with RedisDriver(server.url, eviction="allow") as driver:
            assert any("allkeys-lru" in problem for problem in (await driver.health()).problems)
    finally:
        await client.config_set("maxmemory-policy", "noeviction")


async def test_what_the_server_does_with_its_disk_is_declared(server: Server, client: Redis) -> None:
    async with RedisDriver(server.url) as driver:
        assert driver.capabilities.durable == "disk"
    await client.config_set("appendfsync", "everysec")
    try:
        async with RedisDriver(server.url) as driver:
            assert driver.capabilities.durable == "process"
            assert any("appendfsync always" in problem for problem in (await driver.health()).problems)
    finally:
        await client.config_set("appendfsync", "always")


async def test_a_full_server_writes_nothing_of_a_batch(server: Server, client: Redis) -> None:
    async with RedisDriver(server.url, base="full") as driver:
        await driver.apply([Put("kv!@a", "before")])
        await client.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(ConnectionError, match="maxmemory"):
                await driver.apply([Put("kv!@a", "after"), Put("kv!@b", "x" * 100_000)])
        finally:
            await client.config_set("maxmemory", "0")
        items = await driver.get(["kv!@a", "kv!@b"])
        assert [item and item.value for item in items] == ["before", None]


async def test_keys_of_another_program_are_named_and_left(server: Server, client: Redis) -> None:
    await client.set("{taken}:order", "text")
    async with RedisDriver(server.url, base="taken") as driver:
        with pytest.raises(CorruptDataError, match="another base"):
            await driver.apply([Put("kv!@a", "x")])
        assert await client.exists("{taken}:items") == 0, "half of a write"
        await client.delete("{taken}:order")
        await client.hset("{taken}:items", "kv!@a", "not ours")
        with pytest.raises(CorruptDataError, match="another program"):
            await driver.get(["kv!@a"])


async def test_expired_items_leave_all_three_keys(server: Server, client: Redis) -> None:
    async with RedisDriver(server.url, base="short") as driver:
        await driver.apply([Put(f"kv!@{n}", "x", ttl_ms=20) for n in range(2500)])
        await asyncio.sleep(0.05)
        assert (await driver.scan(Range("kv"))).items == []
        assert await driver.purge() == 2500
        assert await client.exists("{short}:items", "{short}:order", "{short}:expiry") == 0


async def test_what_no_longer_expires_leaves_the_list_of_what_does(server: Server, client: Redis) -> None:
    async with RedisDriver(server.url, base="kept") as driver:
        await driver.apply([Put("kv!@a", "x", ttl_ms=50), Put("kv!@b", "x", ttl_ms=50)])
        await driver.apply([Put("kv!@a", "y"), Delete("kv!@b")])
        assert await client.zcard("{kept}:expiry") == 0
        await asyncio.sleep(0.08)
        await driver.purge()
        assert (await driver.get(["kv!@a"]))[0] is not None


async def test_a_batch_as_large_as_declared_is_one_script(server: Server, client: Redis) -> None:
    async with RedisDriver(server.url, base="large") as driver:
        await driver.apply([Put(f"kv!@{n:06}", "x", ttl_ms=60_000) for n in range(driver.capabilities.max_writes)])
        found = await driver.get([f"kv!@{n:06}" for n in range(driver.capabilities.max_keys)])
        assert all(found)
        await driver.apply([Delete(f"kv!@{n:06}") for n in range(driver.capabilities.max_writes)])
        assert await client.exists("{large}:items", "{large}:order", "{large}:expiry") == 0


async def test_numbers_beyond_what_lua_counts(server: Server, client: Redis) -> None:
    async with RedisDriver(server.url, base="far") as driver:
        head = Put("log", "")
        await driver.apply([head, Put("log!n", str(2**53 + 1))])
        puts = [Put("log!e", "x"), Put("log!e", "y")]
        assert await driver.append("log!n", puts, Check("log", head.etag)) == 2**53 + 1
        assert await driver.append("log!n", [Put("log!e", "z")], Check("log", head.etag)) == 2**53 + 3
        items = (await driver.scan(Range("log!e"))).items
        assert [int(item.key[-16:]) for item in items] == [2**53 + 1, 2**53 + 2, 2**53 + 3]


@pytest.mark.parametrize("borrowed", [False, True], ids=["own", "borrowed"])
async def test_no_cancellation_is_lost(server: Server, client: Redis, borrowed: bool) -> None:
    async with RedisDriver(server.url, client=client if borrowed else None) as driver:

        async def write() -> None:
            while True:
                await driver.apply([Put("kv!@a", "x"), Put("kv!@b", "x")])

        for n in range(300):
            writing = asyncio.create_task(write())
            await asyncio.sleep(n % 30 / 10_000)
            writing.cancel()
            done, _ = await asyncio.wait([writing], timeout=2)
            assert done, "the task goes on although it was cancelled"
            async with asyncio.timeout(2):
                await driver.get(["kv!@a"])


@pytest.mark.slow
async def test_a_page_among_a_million_is_what_it_is_among_a_thousand(server: Server, client: Redis) -> None:
    counted = []
    for size in (1_000, 1_000_000):
        async with RedisDriver(server.url, base=f"page{size}", timeout=60) as driver:
            for start in range(0, size, 16_000):
                await driver.apply([Put(f"kv!@{n:08}", "x") for n in range(start, min(start + 16_000, size))])
            middle = f"kv!@{size // 2:08}"
            await driver.scan(Range("kv", limit=1))  # now the server knows the script
            for values in (True, False):
                for reverse in (True, False):
                    end = {"before": middle} if reverse else {"after": middle}
                    await client.config_resetstat()
                    page = await driver.scan(Range("kv", **end, reverse=reverse, limit=50, values=values))
                    assert len(page.items) == 50
                    stats = await client.info("commandstats")
                    counted.append(
                        {name: stats[name]["calls"] for name in stats if "config" not in name and "info" not in name}
                    )
    assert counted[:4] == counted[4:], "the same commands, each of which takes what it gives back"
    commands = {"evalsha", "time", "zrevrangebylex", "hmget"}
    assert counted[0] == {f"cmdstat_{name}": 1 for name in commands}


async def test_the_rights_that_the_page_names_are_enough_and_no_more(server: Server, client: Redis) -> None:
    page = (Path(__file__).parents[3] / "docs/drivers/redis.md").read_text()
    (command,) = re.findall(r"`ACL SETUSER (.+?)`", page)
    _, *rights = command.split()
    for missing in (None, *(right for right in rights if right.startswith("+"))):
        await client.execute_command("ACL", "SETUSER", "agent", "reset", *(r for r in rights if r != missing))  # type: ignore[no-untyped-call]
        await client.script_flush()
        await client.acl_log_reset()
        url = server.url.replace("://", "://agent:password@")
        with suppress(LimpetError, TimeoutError):
            async with asyncio.timeout(2), RedisDriver(url, base="agents", pool_size=1) as driver:
                await driver.apply(
                    [Put("kv!@a", "x", ttl_ms=60_000), Put("kv!@b", "x"), Put("n", "0"), Put("kv!@c", "x", ttl_ms=1)]
                )
                await driver.append("log!n", [Put("log!e", "x")], Check("n"))
                await asyncio.sleep(0.01)  # until the last of them has expired
                assert len((await driver.scan(Range("kv", reverse=True))).items) == 2
                assert len((await driver.scan(Range("kv"))).items) == 2
                await driver.apply([Delete("kv!@b")])
                async for _ in driver.watch("kv"):
                    break
                await driver.purge()
                await driver.clear("kv")
                await driver.health()
        refused = {entry["object"] for entry in await client.acl_log()}
        assert refused == (set() if missing is None else {missing[1:]}), missing
    await client.execute_command("ACL", "DELUSER", "agent")  # type: ignore[no-untyped-call]


async def test_who_may_not_listen_is_told_so(server: Server, client: Redis) -> None:
    rights = "on", ">password", "~*", "&*", "+@all", "-subscribe"
    await client.execute_command("ACL", "SETUSER", "deaf", "reset", *rights)  # type: ignore[no-untyped-call]
    async with RedisDriver(server.url.replace("://", "://deaf:password@"), base="deaf") as driver:
        with pytest.raises(ConfigurationError, match="grant the permissions"):
            await anext(aiter(driver.watch("kv")))
    await client.execute_command("ACL", "DELUSER", "deaf")  # type: ignore[no-untyped-call]
