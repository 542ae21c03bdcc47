"""Writers that go on while something is done to the servers, and that know what was acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest
from limpet import OutcomeUnknownError, UnavailableError
from limpet.driver import Check, Delete, Driver, Put
from limpet_conformance.machinery.reading import walk


@dataclass
class Writers:
    """What was acknowledged, what may have been written, and what failed."""

    acknowledged: dict[str, str | None] = field(default_factory=dict)
    """By key, what its last acknowledged batch put there; `None` where that deleted it."""
    unknown: dict[str, set[str | None]] = field(default_factory=dict)
    """By key, what later batches may have put there whose answer was lost."""
    numbers: list[int] = field(default_factory=list)
    lost: int = 0
    refused: int = 0
    batches: int = 0

    async def check(self, driver: Driver) -> None:
        """Every acknowledged write is there, and no batch is half there."""
        for key, value in self.acknowledged.items():
            first, copy = await driver.get([key, f"{key}!@copy"])
            found = first and first.value
            assert found == (copy and copy.value), "half of a batch"
            assert found in {value, *self.unknown.get(key, ())}
        assert self.numbers == sorted(set(self.numbers)), "a number was given twice"
        found_numbers = {item.key for item in await walk(driver, "log!e")}
        assert {f"log!e!{n:016}" for n in self.numbers} <= found_numbers


@pytest.fixture
def writing() -> Callable[[Driver], AbstractAsyncContextManager[Writers]]:
    """Four tasks that write and delete pairs, with and without a time to live, and one that appends, during a block."""

    @asynccontextmanager
    async def block(driver: Driver) -> AsyncIterator[Writers]:
        head = Put("log", "")
        await driver.apply([head, Put("log!n", "0")])
        writers = Writers()
        stopped = asyncio.Event()

        async def write(writer: int) -> None:
            key = f"kv!@{writer}"
            for n in count(1):
                if stopped.is_set():
                    return
                value = None if n % 3 == 0 else str(n)
                names = (key, f"{key}!@copy")
                ttl = 60_000 if n % 2 else None
                try:
                    if value is None:
                        await driver.apply([Delete(name) for name in names])
                    else:
                        await driver.apply([Put(name, value, ttl_ms=ttl) for name in names])
                except OutcomeUnknownError:
                    writers.lost += 1
                    writers.unknown.setdefault(key, set()).add(value)
                except UnavailableError:
                    writers.refused += 1
                    await asyncio.sleep(0.01)
                else:
                    writers.batches += 1
                    writers.acknowledged[key] = value
                    writers.unknown.pop(key, None)

        async def append() -> None:
            while not stopped.is_set():
                try:
                    writers.numbers.append(await driver.append("log!n", [Put("log!e", "x")], Check("log", head.etag)))
                except OutcomeUnknownError:
                    writers.lost += 1
                except UnavailableError:
                    writers.refused += 1
                    await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(write(n)) for n in range(4)] + [asyncio.create_task(append())]
        try:
            yield writers
        finally:
            stopped.set()
            await asyncio.gather(*tasks)

    return block
