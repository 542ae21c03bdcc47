"""What is stored, for who looks with a client; and that many may make it at once."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest
from limpet import CorruptDataError, FormatError, TooLargeError, create_storage
from limpet.driver import If, Put, Range
from limpet.opening import driver_from_url


async def test_the_view_shows_text_and_survives_what_is_none(url: str, table: str, sql: Any) -> None:
    deep = "[" * 300 + "]" * 300  # more than MySQL's JSON functions take: they fail on it, whatever they are told
    async with create_storage(url) as storage:
        await storage.set_item("users:ada", {"plan": "pro", "name": "Ådå 🪸"}, ttl=3600)
        await storage.set_item("nul", "\0")
        await storage.set_item_raw("raw", b"\xff\x00")
        await storage.driver.apply([Put("kv!@text", "no json"), Put("kv!@empty", ""), Put("kv!@deep", deep)])
        rows = {row["id"]: row for row in await sql(f"SELECT * FROM {table}_view")}
    ada = next(row for key, row in rows.items() if key.endswith("@ada"))
    assert json.loads(ada["text"]) == {"plan": "pro", "name": "Ådå 🪸"}
    assert ada["updated_at"] < ada["expires_at"]
    assert rows["kv!@text"]["text"] == "no json"
    assert rows["kv!@deep"]["text"] == deep
    raw = next(row for key, row in rows.items() if key.endswith("@raw"))
    assert raw["text"] is None
    assert raw["raw"] == b"\xff\x00"
    plans = f"SELECT COUNT(*) FROM {table}_view WHERE id NOT LIKE '%deep' AND JSON_VALUE(text, '$.plan') = 'pro'"
    assert await sql.value(plans) == 1


async def test_ten_processes_may_start_at_once(url: str) -> None:
    script = (
        "import asyncio, sys\n"
        "from limpet import create_storage\n"
        "async def main():\n"
        "    async with create_storage(sys.argv[1]) as storage:\n"
        "        await storage.set_item(sys.argv[2], 1)\n"
        "asyncio.run(main())\n"
    )
    pipe = asyncio.subprocess.PIPE
    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, url, f"p{n}", stderr=pipe) for n in range(10)
    ]
    for process in started:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    async with create_storage(url) as storage:
        assert {key async for key in storage.get_keys()} == {f"p{n}" for n in range(10)}


async def test_tables_that_were_made_by_halves_are_finished(url: str, table: str, sql: Any) -> None:
    async with create_storage(url) as storage:
        await storage.set_item("a", 1)
    await sql(f"DROP VIEW {table}_view")
    await sql(f"DROP TABLE {table}_version")  # who made them was killed before the last step
    async with create_storage(url) as storage:
        assert await storage.get_item("a") == 1
    assert await sql.value(f"SELECT COUNT(*) FROM {table}_view") > 0
    assert await sql.value(f"SELECT MAX(version) FROM {table}_version") == 1


async def test_tables_of_a_newer_release_are_refused_and_left(url: str, table: str, sql: Any) -> None:
    async with create_storage(url) as storage:
        await storage.set_item("a", 1)
    await sql(f"UPDATE {table}_version SET version = 99")
    with pytest.raises(FormatError, match="upgrade limpet-mysql"):
        await driver_from_url(url).open()
    assert await sql.value(f"SELECT COUNT(*) FROM {table}") > 0


async def test_a_table_that_is_gone_is_named(url: str, table: str, sql: Any) -> None:
    async with driver_from_url(url) as driver:
        await sql(f"DROP TABLE {table}")
        with pytest.raises(CorruptDataError, match=table):
            await driver.get(["kv!@a"])
        with pytest.raises(CorruptDataError, match="backup"):
            await driver.apply([Put("kv!@a", "x")])


async def test_two_tables_in_one_database_share_nothing(url: str) -> None:
    async with create_storage(url) as one, create_storage(f"{url}_other") as other:
        await one.set_item("a", 1)
        assert await other.get_item("a") is None
        await other.clear()
        assert await one.get_item("a") == 1


async def test_what_a_page_examines_does_not_grow_with_the_table(url: str, table: str, sql: Any) -> None:
    async with driver_from_url(url) as driver:
        examined = []
        for size in (200, 3000):
            await driver.commit([[Put(f"kv!@{n:05}", "x", ttl_ms=3_600_000)] for n in range(size)])
            await sql(f"ANALYZE TABLE {table}")
            before = await _reads(sql)
            page = await driver.scan(Range("kv", after="kv!@00100", limit=50))
            assert [item.key for item in page.items] == [f"kv!@{n:05}" for n in range(101, 151)]
            examined.append(await _reads(sql) - before)
        assert examined[1] <= examined[0] + 20
        plan = await sql(f"EXPLAIN SELECT id FROM {table} WHERE id > 'kv!' AND id < 'kv\"' ORDER BY id LIMIT 50")
        assert "filesort" not in str(plan)


async def test_large_values_end_a_page_and_are_not_read_beyond_it(url: str) -> None:
    async with driver_from_url(url) as driver:
        await driver.commit([[Put(f"kv!@{n:02}", bytes([n]) * 300_000)] for n in range(12)])
        for reverse in (False, True):
            page = await driver.scan(Range("kv", limit=12, reverse=reverse))
            assert 3 <= len(page.items) <= 5
            assert page.next == page.items[-1].key


async def _reads(sql: Any) -> int:
    """Rows that the server has looked at, for everybody."""
    return sum(int(row["Value"]) for row in await sql("SHOW GLOBAL STATUS LIKE 'Handler_read_%'"))


async def test_a_value_that_no_longer_comes_through_is_no_absent_one(url: str, sql: Any) -> None:
    packet = int(await sql.value("SELECT @@global.max_allowed_packet"))
    if packet < 64 * 1024 * 1024:
        pytest.skip("the server takes no value that large to begin with")
    async with driver_from_url(url) as driver:
        await driver.apply([Put("kv!@a", bytes(20 * 1024 * 1024)), Put("kv!@b", "x")])
    await sql(f"SET GLOBAL max_allowed_packet = {16 * 1024 * 1024}")
    try:
        async with driver_from_url(url) as driver:
            with pytest.raises(TooLargeError, match="max_allowed_packet"):
                await driver.get(["kv!@a"])
            assert (await driver.get(["kv!@b"]))[0] is not None
    finally:
        await sql(f"SET GLOBAL max_allowed_packet = {packet}")
    async with driver_from_url(f"{url}&client=asyncmy") as driver:
        for read in (driver.get(["kv!@a"]), driver.scan(Range("kv")), driver.apply([Put("kv!@a", "x", If.ABSENT)])):
            with pytest.raises(TooLargeError, match="aiomysql"):
                await read
        await driver.apply([Put("kv!@a", "x")])
        assert (await driver.get(["kv!@a"]))[0] is not None
