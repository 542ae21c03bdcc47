"""The clock is read when a write has its locks: on each of the ways that a put can take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from limpet.driver import If, Put
from limpet.opening import driver_from_url

WAYS = {
    "a put": [Put("kv!@a", "mine", None, 250)],
    "a put that asks": [Put("kv!@a", "mine", If.PRESENT, 250)],
    "two puts": [Put("kv!@a", "mine", None, 250), Put("kv!@b", "mine", None, 250)],
}
NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000"


@pytest.mark.parametrize("several", ["true", "false"])
@pytest.mark.parametrize("way", WAYS)
async def test_what_waited_for_a_row_is_not_born_expired(
    url: str, table: str, sql: Any, way: str, several: str
) -> None:
    async with driver_from_url(f"{url}&multi_statements={several}") as driver:
        await driver.commit([[Put("kv!@a", "before")]])
        await sql("BEGIN")
        await sql(f"SELECT 1 FROM {table} FOR UPDATE")
        waiting = asyncio.create_task(driver.commit([WAYS[way]]))
        await asyncio.sleep(0.4)
        before = int(await sql.value(f"SELECT {NOW} AS now"))
        await sql("COMMIT")
        assert await waiting == [None]
        (row,) = await sql(f"SELECT updated_at, expires_at FROM {table} WHERE id = 'kv!@a'")
        assert row["updated_at"] >= before
        assert row["expires_at"] == row["updated_at"] + 250
