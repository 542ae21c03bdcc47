"""What is counted on the server: round trips, transactions, connections; and batches as large as declared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from limpet import create_storage
from limpet.driver import Check, Delete, If, Put, Range
from limpet.opening import driver_from_url
from limpet_conformance.servers import Server, find, running
from limpet_drivers.mysql import _library


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One of this module's own: what it has done is counted."""
    if not running(request.param).ours:
        pytest.skip("the server belongs to somebody else: others would be counted too")
    own = find(request.param)
    yield own
    own.end()


async def counted(sql: Any, *names: str) -> int:
    """How often the server has done these, for everybody."""
    asked = ", ".join(f"'{name}'" for name in names)
    return sum(int(row["Value"]) for row in await sql(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({asked})"))


async def test_a_thousand_tasks_at_once_are_a_few_transactions(url: str, sql: Any) -> None:
    async with create_storage(url) as storage:
        await storage.set_item("first", 0)
        before = await counted(sql, "Com_insert", "Com_begin")
        await asyncio.gather(*(storage.set_item(f"k{n}", n) for n in range(1000)))
        assert await counted(sql, "Com_insert", "Com_begin") - before <= 10
        before = await counted(sql, "Com_select")
        assert await asyncio.gather(*(storage.get_item(f"k{n}") for n in range(1000))) == list(range(1000))
        assert await counted(sql, "Com_select") - before <= 10


async def test_a_thousand_tasks_without_grouping_wait_for_a_connection(url: str, sql: Any) -> None:
    before = await counted(sql, "Threads_connected")
    async with driver_from_url(url) as driver:
        await asyncio.gather(*(driver.apply([Put(f"kv!@{n}", "x")]) for n in range(1000)))
        assert await counted(sql, "Threads_connected") - before <= 8
    assert (await counted(sql, "Aborted_clients")) == 0, "it went without a word"


async def test_a_put_and_an_append_are_one_round_trip_and_a_batch_two(
    url: str, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driver_from_url(url) as driver:
        head = Put("log", "")
        await driver.apply([head, Put("log!n", "0")])
        sent = 0

        async def count(connection: Any, statements: str) -> list[_library.Result]:
            nonlocal sent
            sent += 1
            return await send(connection, statements)

        send = _library.send
        monkeypatch.setattr(_library, "send", count)
        await driver.apply([Put("kv!@a", "y")])
        assert sent == 1
        sent = 0
        assert await driver.append("log!n", [Put("log!e", "x"), Put("log!e", "y")], Check("log", head.etag)) == 0
        assert sent == 1
        await driver.apply([Put("kv!@a", "z", If.PRESENT), Put("kv!@b", "z", If.ABSENT), Delete("kv!@c")])
        assert sent == 3


async def test_a_batch_as_large_as_declared(url: str) -> None:
    async with driver_from_url(url) as driver:
        count = driver.capabilities.max_writes
        await driver.apply([Put(f"kv!@{n:06}", "x", ttl_ms=60_000) for n in range(count)])
        found = await driver.get([f"kv!@{n:06}" for n in range(driver.capabilities.max_keys)])
        assert all(found)
        await driver.apply([Delete(f"kv!@{n:06}") for n in range(count)])
        assert (await driver.scan(Range("kv"))).items == []


async def test_a_batch_beyond_one_packet_is_still_one_batch(url: str, sql: Any) -> None:
    async with driver_from_url(url) as driver, driver_from_url(url) as other:
        value = bytes(driver.capabilities.max_value_bytes // 2)
        count = driver.capabilities.max_batch_bytes // (len(value) + 100)
        assert count >= 3
        seen: set[int] = set()

        async def look() -> None:
            while not writing.done():
                seen.add(len((await other.scan(Range("kv", values=False))).items))
                await asyncio.sleep(0.01)

        writing = asyncio.create_task(driver.apply([Put(f"kv!@{n}", value) for n in range(count)]))
        await asyncio.gather(writing, look())
        assert seen <= {0, count}
        assert (await other.get([f"kv!@{count - 1}"]))[0] is not None


async def test_expired_items_are_removed_by_writes_and_by_purge(url: str, table: str, sql: Any) -> None:
    async with driver_from_url(url) as driver:
        await driver.apply([Put("kv!@first", "x")])  # who comes first removes what has expired, once a second
        await driver.apply([Put(f"kv!@{n}", "x", ttl_ms=20) for n in range(2500)])
        await driver.apply([Delete("kv!@first")])
        await asyncio.sleep(0.05)
        assert (await driver.scan(Range("kv"))).items == []
        assert await driver.purge() == 2500
        assert await sql.value(f"SELECT COUNT(*) FROM {table}") == 0
        await driver.apply([Put("kv!@a", "x", ttl_ms=20)])
        await asyncio.sleep(1.1)
        await driver.apply([Put("kv!@b", "x")])
        assert await sql.value(f"SELECT COUNT(*) FROM {table}") == 1


async def test_clear_counts_what_lived(url: str) -> None:
    async with driver_from_url(url) as driver:
        await driver.apply([Put(f"kv!@{n:05}", "x") for n in range(2345)])
        await driver.apply([Put("kv!@short", "x", ttl_ms=1), Put("other!@a", "x")])
        await asyncio.sleep(0.01)
        assert await driver.clear("kv") == 2345
        assert [item.key for item in (await driver.scan(Range(""))).items] == ["other!@a"]


async def test_numbers_beyond_what_a_float_counts(url: str) -> None:
    async with driver_from_url(url) as driver:
        head = Put("log", "")
        await driver.apply([head, Put("log!n", str(2**53 + 1))])
        puts = [Put("log!e", "x"), Put("log!e", "y")]
        assert await driver.append("log!n", puts, Check("log", head.etag)) == 2**53 + 1
        assert await driver.append("log!n", [Put("log!e", "z")], Check("log", head.etag)) == 2**53 + 3
        items = (await driver.scan(Range("log!e"))).items
        assert [int(item.key[-16:]) for item in items] == [2**53 + 1, 2**53 + 2, 2**53 + 3]


@pytest.mark.parametrize("library", ["aiomysql", "asyncmy"])
async def test_no_cancellation_is_lost(url: str, library: str) -> None:
    async with driver_from_url(f"{url}&client={library}&pool_size=2") as driver:

        async def write() -> None:
            while True:
                await driver.apply([Put("kv!@a", "x"), Put("kv!@b", uuid4().hex)])

        for n in range(200):
            writing = asyncio.create_task(write())
            await asyncio.sleep(n % 30 / 10_000)
            writing.cancel()
            done, _ = await asyncio.wait([writing], timeout=2)
            assert done, "the task goes on although it was cancelled"
            async with asyncio.timeout(2):
                await driver.get(["kv!@a"])
