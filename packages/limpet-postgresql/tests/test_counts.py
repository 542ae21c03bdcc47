"""What PostgreSQL counts: transactions of many calls at once, and what a page examines among few and among many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from limpet import create_storage
from limpet.driver import Range
from limpet_conformance.servers import Server, find, running
from limpet_drivers.postgresql import PostgresqlDriver

FEW, MANY = 1_000, 1_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One of this module's own: nobody else adds to its counts."""
    if not running("postgresql").ours:
        pytest.skip("the server belongs to somebody else: others add to its counts")
    own = find("postgresql")
    yield own
    own.end()


@pytest.fixture
async def psql(server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.url)
    yield connection
    await connection.close()


async def transactions(server: Server, calls: int) -> int:
    """How many were committed for so many calls at once, with opening and closing."""

    async def committed() -> int:
        await asyncio.sleep(0.2)  # a connection adds up what it did as it ends
        connection = await asyncpg.connect(server.url.removesuffix("/postgres") + "/template1")
        count: int = await connection.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'")
        await connection.close()
        return count

    before = await committed()
    async with create_storage(f"{server.url}?schema=counted") as storage:
        await asyncio.gather(*(storage.set_item(f"k{n}", n) for n in range(calls)))
    return await committed() - before


async def test_a_thousand_sets_at_once_are_a_few_transactions(server: Server) -> None:
    await transactions(server, 1)  # it makes the tables
    idle = await transactions(server, 0)
    assert idle > 0
    assert await transactions(server, 1000) - idle <= 10


@pytest.mark.slow
async def test_a_page_among_a_million_examines_what_it_does_among_a_thousand(
    server: Server, psql: asyncpg.Connection
) -> None:
    pages = [await page(server, psql, f"page{size}", size) for size in (FEW, MANY)]
    for few, many in zip(*pages, strict=True):
        assert many["rows"] == few["rows"] == 51, "one more than the page, to see whether there is another"
        assert many["blocks"] <= few["blocks"] + 10, (
            "an index that is a level or two higher, and pages that are not full"
        )


async def page(server: Server, psql: asyncpg.Connection, schema: str, size: int) -> list[dict[str, int]]:
    """What pages of fifty from the middle examine: forwards and backwards, with values and without."""
    driver = PostgresqlDriver.from_url(f"{server.url}?schema={schema}")
    async with driver:
        await psql.execute(
            f"INSERT INTO {schema}.limpet SELECT 'kv!@' || lpad(n::text, 8, '0'), 't' || repeat('x', 200)::bytea, "
            f"lpad(n::text, 22, 'e'), 0, NULL FROM generate_series(1, {size}) AS n"
        )
        await psql.execute(f"VACUUM ANALYZE {schema}.limpet")
        middle = f"kv!@{size // 2:08}"
        assert [item.key for item in (await driver.scan(Range("kv", after=middle, limit=2))).items] == [
            f"kv!@{size // 2 + n:08}" for n in (1, 2)
        ]
        examined = []
        for (_, reverse), statement in driver._commands._list.items():
            bounds = ("kv!", "", middle) if reverse else ("kv!", middle, 'kv"')
            await psql.fetch(statement, *bounds, 51)
            plan = await psql.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *bounds, 51)
            top = json.loads(plan)[0]["Plan"]
            blocks = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
            examined.append({"rows": sum(scanned(top)), "blocks": blocks})
        return examined


def scanned(plan: dict[str, Any]) -> Iterator[int]:
    """The rows that each scan of the plan looked at."""
    if "Scan" in plan["Node Type"] and "Relation Name" in plan:
        yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    for part in plan.get("Plans", []):
        yield from scanned(part)
