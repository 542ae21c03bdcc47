"""Closing from another event loop than the one that something is open on: an error at once, and nothing is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from limpet import ForeignLoopError, create_persistence, create_storage
from limpet.events import create_queue
from limpet.profiles import FolderPersistence


async def refused(close: Callable[[], Awaitable[object]]) -> None:
    """`close` is refused in another thread, although calls are under way."""

    async def closing() -> None:
        async with asyncio.timeout(10):
            await close()

    def elsewhere() -> None:
        with pytest.raises(ForeignLoopError, match="another event loop"):
            asyncio.run(closing())

    await asyncio.to_thread(elsewhere)


async def test_a_persistence_and_all_that_hangs_on_it_go_on(url: str) -> None:
    async with create_persistence(url) as persistence, persistence.events() as queue:
        heard = asyncio.Event()
        await queue.subscribe("c", lambda event: heard.set())
        waiting = asyncio.create_task(persistence.work("jobs").claim(wait=20))
        writing = [asyncio.create_task(persistence.kv(int, "n").set(str(n), n)) for n in range(50)]
        await refused(persistence.aclose)
        await refused(queue.aclose)
        await refused(persistence.driver.close)
        await asyncio.gather(*writing)
        await persistence.work("jobs").put("job")
        await queue.publish("c", 1)
        (job,) = await waiting
        await job.complete()
        async with asyncio.timeout(10):
            await heard.wait()


async def test_a_storage_goes_on(url: str) -> None:
    async with create_storage(url) as storage:
        heard = asyncio.Event()
        await storage.watch(lambda event, key: heard.set())
        await refused(storage.aclose)
        await storage.set_item("a", 1)
        async with asyncio.timeout(10):
            await heard.wait()


async def test_a_queue_with_a_driver_of_its_own_goes_on(url: str) -> None:
    async with create_queue(url) as queue:
        await refused(queue.aclose)
        await queue.publish("c", 1)
        assert [event.event for event in (await queue.recover("c")).events] == [1]


async def test_a_folder_of_databases_goes_on(tmp_path: Path) -> None:
    persistence = await FolderPersistence.open(tmp_path)
    await persistence.kv(int, "n").set("a", 1)
    await refused(persistence.aclose)
    assert await persistence.kv(int, "n").get("a") == 1
    await persistence.aclose()


async def test_what_is_closed_may_be_closed_anywhere_again(url: str) -> None:
    persistence = await create_persistence(url)
    await persistence.aclose()
    await asyncio.to_thread(lambda: asyncio.run(persistence.aclose()))
