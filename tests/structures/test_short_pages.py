"""A page may be empty long before the end: nothing that goes through pages takes it for the end."""

from __future__ import annotations

import pytest
from limpet import create_persistence
from limpet.driver import MemoryDriver, Page, Put, Range, key, name, number
from limpet.driver.kit import scan_all
from limpet.wrappers import Wrapper, encrypted


class EmptyFirstPages(Wrapper):
    """Returns an empty first page for every range below a key, and two items at most in each page after that."""

    async def scan(self, range: Range) -> Page:
        if range.after is None and range.base and not range.reverse:
            return Page([], range.base)
        return await self.inner.scan(Range(range.base, range.after, range.before, range.reverse, 2, range.values))


@pytest.fixture
def driver() -> EmptyFirstPages:
    return EmptyFirstPages(MemoryDriver())


async def test_every_item_is_found(driver: EmptyFirstPages) -> None:
    base = key(name("short"))
    async with driver:
        await driver.apply([Put(key(base, number(n)), "x") for n in range(7)])
        assert len([item async for item in scan_all(driver, base)]) == 7


async def test_a_blob_is_freed_whole(driver: EmptyFirstPages) -> None:
    async with create_persistence(driver) as persistence:
        blob = await persistence.blobs.create(bytes(range(256)) * 20_000)
        assert await persistence.blobs.delete(blob.id)
        await persistence.collect_garbage()
        left = [item.key async for item in scan_all(driver.inner, "")]
    assert not [at for at in left if at.startswith(("chunk", "part"))], left


async def test_clearing_an_encrypted_place_clears_all_of_it(driver: EmptyFirstPages) -> None:
    async with create_persistence(driver, wrappers=[encrypted(key=bytes(32))]) as persistence:
        numbers = persistence.kv(int, "n")
        await numbers.set_many({str(n): n for n in range(9)})
        assert await numbers.clear() == 9
        assert dict(await numbers.list()) == {}
