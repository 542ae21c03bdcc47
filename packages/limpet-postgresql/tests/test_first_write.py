"""The first write of a driver is as fast as the second: what it needs was planned at open."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from uuid import uuid4

from limpet.driver import Put
from limpet_conformance.servers import running
from limpet_drivers.postgresql import PostgresqlDriver


async def test_the_first_write_is_as_fast_as_the_second() -> None:
    first: list[float] = []
    second: list[float] = []
    url = f"{running('postgresql').url}?schema=s{uuid4().hex}"
    for n in range(9):
        async with PostgresqlDriver.from_url(url) as driver:
            for times in (first, second):
                begun = perf_counter()
                await driver.commit([[Put(f"kv!@{n}", "v")]])
                times.append(perf_counter() - begun)
    assert median(first) < 3 * median(second) + 0.001
