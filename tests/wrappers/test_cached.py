"""A cache on a shared backend: the whole suite where nothing may be stale, and two of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from time import monotonic

import pytest
from limpet import Persistence, create_persistence, create_storage
from limpet.driver import Driver
from limpet.opening import driver_from_url
from limpet.records import UserMessage
from limpet.wrappers import Cached, cached
from limpet_conformance import DriverConformance
from limpet_drivers.sqlite import SqliteDriver
from pydantic import BaseModel

pytestmark = pytest.mark.again


class Counter(BaseModel):
    count: int = 0


class CachedSqlite(Cached):
    capabilities = SqliteDriver.capabilities


def caching(url: str) -> Driver:
    return CachedSqlite(driver_from_url(url))


@pytest.mark.exhaustive
class TestCachedSqlite(DriverConformance):
    factory = f"{__name__}:caching"
    capabilities = CachedSqlite.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/agent.db"


async def test_two_caches_are_never_further_apart_than_they_say(lasting_url: str) -> None:
    async with (
        create_storage(lasting_url, wrappers=[cached(max_stale=0.2)]) as mine,
        create_storage(lasting_url, wrappers=[cached(max_stale=0.2)]) as others,
    ):
        for turn in range(3):
            await mine.set_item("a", turn)
            written = monotonic()
            assert await mine.get_item("a") == turn
            while await others.get_item("a") != turn:
                assert monotonic() - written < 1, "stale beyond what it says"
                await asyncio.sleep(0.01)


async def test_what_two_caches_change_at_once_adds_up_although_both_may_be_stale(lasting_url: str) -> None:
    async with (
        create_persistence(lasting_url, wrappers=[cached(max_stale=60)]) as mine,
        create_persistence(lasting_url, wrappers=[cached(max_stale=60)]) as others,
    ):
        await mine.kv(int, "counts").set("a", 0)

        async def work(persistence: Persistence) -> None:
            state = persistence.state(Counter, "__agent_counter")
            assert (await state.get_state()).count <= 20  # kept from here on
            for _ in range(10):
                async with state as counter:
                    counter.count += 1
                await persistence.kv(int, "counts").update("a", lambda count: count + 1)
                await persistence.sessions.add_message("s", UserMessage(content="x"), create=True)

        await asyncio.gather(work(mine), work(others))
    async with create_persistence(lasting_url) as persistence:
        assert (await persistence.state(Counter, "__agent_counter").get_state()).count == 20
        assert await persistence.kv(int, "counts").get("a") == 20
        assert len(await persistence.sessions.get_messages("s")) == 20


async def test_two_caches_without_max_stale_agree_at_once(lasting_url: str) -> None:
    async with (
        create_storage(lasting_url, wrappers=[cached()]) as mine,
        create_storage(lasting_url, wrappers=[cached()]) as others,
    ):
        for turn in range(20):
            await mine.set_item("a", turn)
            assert await others.get_item("a") == turn
            assert await mine.get_item("a") == turn
