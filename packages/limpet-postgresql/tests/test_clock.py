"""The clock is read when a write has its locks: on each of the ways that a put can take."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from limpet.driver import If, Put
from limpet_conformance.servers import running
from limpet_drivers.postgresql import PostgresqlDriver

WAYS = {
    "a put": [Put("kv!@a", "mine", None, 250)],
    "a put that asks": [Put("kv!@a", "mine", If.PRESENT, 250)],
    "two puts": [Put("kv!@a", "mine", None, 250), Put("kv!@b", "mine", None, 250)],
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_waited_for_a_row_is_not_born_expired(way: str) -> None:
    server = running("postgresql")
    schema = f"s{uuid4().hex}"
    other = await asyncpg.connect(server.url)
    async with PostgresqlDriver.from_url(f"{server.url}?schema={schema}") as driver:
        await driver.commit([[Put("kv!@a", "before")]])
        transaction = other.transaction()
        await transaction.start()
        await other.execute(f"SELECT 1 FROM {schema}.limpet FOR UPDATE")
        waiting = asyncio.create_task(driver.commit([WAYS[way]]))
        await asyncio.sleep(0.4)
        before = int(await other.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)"))
        await transaction.commit()
        assert await waiting == [None]
        row = await other.fetchrow(f"SELECT updated_at, expires_at FROM {schema}.limpet WHERE key = 'kv!@a'")
        assert row is not None
        assert row["updated_at"] >= before
        assert row["expires_at"] == row["updated_at"] + 250
    await other.close()
