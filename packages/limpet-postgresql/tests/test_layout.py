"""What is stored, for who looks with psql; and that many may make it at once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest
from limpet import FormatError, create_storage
from limpet.driver import Put
from limpet_conformance.servers import running
from limpet_drivers.postgresql import PostgresqlDriver


@pytest.fixture
async def schema() -> str:
    return f"s{uuid4().hex}"


@pytest.fixture
async def psql() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(running("postgresql").url)
    yield connection
    await connection.close()


def url(schema: str) -> str:
    return f"{running('postgresql').url}?schema={schema}"


async def test_the_view_shows_json_and_survives_what_is_none(schema: str, psql: asyncpg.Connection) -> None:
    async with create_storage(url(schema)) as storage:
        await storage.set_item("users:ada", {"plan": "pro"}, ttl=3600)
        await storage.set_item("nul", "\0")  # JSON can say it and jsonb cannot hold it
        await storage.set_item_raw("raw", b"\xff\x00")
        driver = storage.driver
        await driver.apply([Put("kv!@text", "no json"), Put("kv!@empty", ""), Put("kv!@deep", "[" * 100_000)])
        rows = {row["key"]: row for row in await psql.fetch(f'SELECT * FROM "{schema}".limpet_view')}
    ada = next(row for key, row in rows.items() if key.endswith("@ada"))
    assert json.loads(ada["json"]) == {"plan": "pro"}
    assert ada["updated_at"] <= datetime.now(UTC) < ada["expires_at"]
    assert sum(row["json"] is None for row in rows.values()) == 5
    plans = await psql.fetchval(f"SELECT count(*) FROM \"{schema}\".limpet_view WHERE json->>'plan' = 'pro'")
    assert plans == 1


async def test_ten_processes_may_start_at_once(schema: str) -> None:
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
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, url(schema), f"p{n}", stderr=pipe)
        for n in range(10)
    ]
    for process in started:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    async with create_storage(url(schema)) as storage:
        assert {key async for key in storage.get_keys()} == {f"p{n}" for n in range(10)}


async def test_tables_of_a_newer_release_are_refused_and_left(schema: str, psql: asyncpg.Connection) -> None:
    async with create_storage(url(schema)) as storage:
        await storage.set_item("a", 1)
    await psql.execute(f'UPDATE "{schema}".limpet_version SET version = 99')
    driver = PostgresqlDriver.from_url(url(schema))
    with pytest.raises(FormatError, match="upgrade limpet-postgresql"):
        await driver.open()
    assert await psql.fetchval(f'SELECT count(*) FROM "{schema}".limpet') > 0


async def test_two_tables_in_one_schema_share_nothing(schema: str) -> None:
    async with create_storage(url(schema)) as one, create_storage(f"{url(schema)}&table=other") as other:
        await one.set_item("a", 1)
        assert await other.get_item("a") is None
        await other.clear()
        assert await one.get_item("a") == 1


async def test_keys_sort_by_their_bytes_and_pages_enter_in_the_middle(schema: str, psql: asyncpg.Connection) -> None:
    async with PostgresqlDriver.from_url(url(schema)) as driver:
        await driver.commit([[Put(f"kv!@{n:05}", "x")] for n in range(3000)])
        await psql.execute(f'ANALYZE "{schema}".limpet')
        plan = await psql.fetch(
            f'EXPLAIN SELECT * FROM "{schema}".limpet WHERE key >= $1 AND key > $2 AND key < $3 ORDER BY key LIMIT 50',
            "kv!",
            "kv!@02000",
            'kv"',
        )
        assert "Index Scan" in str(plan)
        assert "Sort" not in str(plan)
