"""The optional verbs that a driver did not write: correct, built from the three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from limpet import ConflictError, TooLargeError
from limpet.driver import Append, Check, Health, MemoryDriver, Put, Range
from limpet.driver.kit import BaseDriver, backend_now_ms, host_now_ms


class Plain(MemoryDriver):
    """A driver that numbers no logs and tells nothing of its health."""

    capabilities = replace(MemoryDriver.capabilities, append=False, max_writes=512)
    _health = BaseDriver._health


@pytest.fixture
async def driver() -> AsyncIterator[Plain]:
    async with Plain() as driver:
        await driver.apply([Put("log", "head")])
        yield driver


async def test_health_writes_nothing_and_so_cannot_tell_the_time(driver: Plain) -> None:
    assert await driver.health() == Health("Plain", "unknown", None)
    assert [item.key for item in (await driver.scan(Range(""))).items] == ["log"]


async def test_a_probe_proves_that_a_write_can_be_read(driver: Plain) -> None:
    health = await driver.health(probe=True)
    assert (health.server, health.version) == ("Plain", "unknown")
    assert health.clock_ms is not None
    assert abs(health.clock_ms - host_now_ms()) < 5000
    assert await backend_now_ms(driver) >= health.clock_ms
    await asyncio.sleep(1.05)
    assert [item.key for item in (await driver.scan(Range(""))).items] == ["log"]


async def test_appends_of_one_call_are_merged_and_numbered_in_order(driver: Plain) -> None:
    units = [Append("log!n", (Put("log!e", f"{n}a"), Put("log!e", f"{n}b")), Check("log")) for n in range(10)]
    assert await driver.commit(units) == list(range(0, 20, 2))
    page = await driver.scan(Range("log!e"))
    assert [item.value for item in page.items] == [f"{n}{part}" for n in range(10) for part in "ab"]


async def test_more_than_a_batch_holds_is_appended_in_parts(driver: Plain) -> None:
    ten = tuple(Put("log!e", str(n)) for n in range(10))
    units = [Append("log!n", tuple(Put(put.key, put.value) for put in ten), Check("log")) for _ in range(60)]
    assert await driver.commit(units) == list(range(0, 600, 10))
    too_many = Append("log!n", tuple(Put("log!e", "x") for _ in range(511)), Check("log"))
    (outcome,) = await driver.commit([too_many])
    assert isinstance(outcome, TooLargeError)


async def test_one_log_that_is_gone_refuses_its_own_appends_only(driver: Plain) -> None:
    units = [Append(f"{log}!n", (Put(f"{log}!e", "x"),), Check(log)) for log in ("log", "gone", "log")]
    first, refused, second = await driver.commit(units)
    assert (first, second) == (0, 1)
    assert isinstance(refused, ConflictError)
    assert refused.keys == ("gone",)


async def test_rival_clients_number_without_gaps_or_doubles(driver: Plain) -> None:
    numbers = await asyncio.gather(*(driver.append("log!n", [Put("log!e", str(n))], Check("log")) for n in range(30)))
    assert sorted(numbers) == list(range(30))
