"""A cached get asks the backend nothing."""

from __future__ import annotations

import asyncio

from limpet import create_persistence, create_storage
from limpet.opening import driver_from_url
from limpet.records import SessionRecord
from limpet.wrappers import cached
from limpet_conformance.faults import Counts, counted


async def _hinted() -> None:
    """A server that can be watched hints at our own write, too, and what was hinted at is read again."""
    await asyncio.sleep(0.1)


async def test_a_cached_get_makes_no_driver_call(url: str) -> None:
    async with driver_from_url(url) as driver, create_storage(driver, wrappers=[cached(max_stale=60)]) as storage:
        await storage.set_item("a", 1)
        await _hinted()
        assert (await storage.get_item("a"), await storage.get_item("b")) == (1, None)
        with counted(driver) as counts:
            assert (await storage.get_item("a"), await storage.get_item("b")) == (1, None)
        assert counts == Counts()


async def test_a_cached_record_makes_no_driver_call(url: str) -> None:
    wrappers = [cached(max_stale=60)]
    async with driver_from_url(url) as driver, create_persistence(driver, wrappers=wrappers) as persistence:
        await persistence.sessions.save_session(SessionRecord(session_id="s"))
        await _hinted()
        found = await persistence.sessions.find_session_by_id("s")
        with counted(driver) as counts:
            assert await persistence.sessions.find_session_by_id("s") == found
        assert counts == Counts()


async def test_without_max_stale_a_shared_driver_is_asked_for_etags_and_one_of_its_own_for_nothing(url: str) -> None:
    async with driver_from_url(url) as driver, create_storage(driver, wrappers=[cached()]) as storage:
        await storage.set_item("a", 1)
        await storage.get_item("a")
        with counted(driver) as counts:
            assert await storage.get_item("a") == 1
        assert (counts.fetches, counts.keys) == ((0, 0) if not driver.capabilities.shared else (1, 1))
