"""What can be counted is counted: calls to the backend and the items they concern, among few and among many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from limpet import Persistence, create_persistence, create_storage
from limpet.driver import Put, Write
from limpet.opening import driver_from_url
from limpet.records import ImageRecord, SessionRecord, UserMessage
from limpet.stores import NewEntry
from limpet_conformance.faults import Counts, counted

FEW, MANY = 100, 100_000


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Persistence, Counts]]:
    async with driver_from_url(url) as driver, create_persistence(driver) as persistence:
        with counted(driver) as counts:
            yield persistence, counts


async def test_a_thousand_concurrent_sets_are_a_few_transactions(tmp_path: Path) -> None:
    async with driver_from_url(f"sqlite:///{tmp_path.as_posix()}/a.db") as driver, create_storage(driver) as storage:
        with counted(driver) as counts:
            await asyncio.gather(*(storage.set_item(f"key:{n}", {"n": n}) for n in range(1000)))
        assert counts.commits <= 5
        with counted(driver) as counts:
            found = await asyncio.gather(*(storage.get_item(f"key:{n}") for n in range(1000)))
        assert found == [{"n": n} for n in range(1000)]
        assert counts.fetches <= 5


async def test_the_calls_of_the_main_job(url: str) -> None:
    async with opened(url) as (persistence, counts):
        sessions, images = persistence.sessions, persistence.images
        with counts.growing() as grown:
            await sessions.save_session(SessionRecord(session_id="s"))
        assert (grown["commits"], grown["fetches"]) == (1, 0), "a new session is one call"
        with counts.growing() as grown:
            await sessions.add_message("s", UserMessage(content="x"))
        assert (grown["commits"], grown["fetches"]) == (1, 1), "a cold append reads the head"
        with counts.growing() as grown:
            await sessions.add_message("s", UserMessage(content="x"))
        assert (grown["commits"], grown["fetches"], grown["lists"]) == (1, 0, 0), "a warm append is one call"
        with counts.growing() as grown:
            await sessions.get_messages("s", last=50)
        assert (grown["commits"], grown["fetches"], grown["lists"]) == (0, 1, 1), "a warm read is entries and head"
        with counts.growing() as grown:
            await images.save_image(ImageRecord(image_id="i", container_id="c", session_id="s"))
        assert (grown["commits"], grown["fetches"]) == (1, 0), "a new image is one call"
        with counts.growing() as grown:
            await images.save_image(ImageRecord(image_id="i", container_id="c", session_id="s"))
        assert (grown["commits"], grown["fetches"]) == (2, 0), "saving over one carries what it lost to"
        with counts.growing() as grown:
            await images.find_images_by_container_id("c", limit=50)
        assert (grown["lists"], grown["fetches"], grown["commits"]) == (1, 1, 0), "a page is two calls"
        with counts.growing() as grown:
            await sessions.count_messages("s")
        assert (grown["fetches"], grown["keys"], grown["lists"]) == (1, 2, 0), "counting scans nothing"
        with counts.growing() as grown:
            await images.find_image_by_id("i")
        assert (grown["fetches"], grown["keys"]) == (1, 1)


async def test_the_calls_of_key_value_stores(url: str) -> None:
    async with opened(url) as (persistence, counts):
        numbers, tree = persistence.kv(int, "n"), persistence.kv_tree(int)
        entries = [NewEntry(("a", str(n)), "k", n) for n in range(5)]
        for call, commits, fetches in (
            (lambda: numbers.set("k", 1, ttl=60), 1, 0),
            (lambda: numbers.ttl("k"), 0, 1),
            (lambda: numbers.ttl_many(["k", "l"]), 0, 1),
            (lambda: numbers.get_entry("k"), 0, 1),
            (lambda: numbers.get_entries(["k", "l"]), 0, 1),
            (lambda: numbers.touch("k", ttl=5), 1, 1),
            (lambda: numbers.touch("absent", ttl=5), 0, 1),
            (lambda: numbers.update("k", lambda n: n + 1, default=0), 1, 1),
            (lambda: numbers.update("l", lambda n: n + 1, default=0), 1, 1),
            (lambda: tree.write(entries), 1, 1),
            (lambda: tree.write(delete=[(("a", "0"), "k")]), 1, 0),
            (lambda: tree.touch({(("a", "1"), "k"): 5, (("a", "2"), "k"): 5}), 1, 1),
            (lambda: tree.get_entries([(("a", "1"), "k"), (("a", "2"), "k")]), 0, 1),
        ):
            with counts.growing() as grown:
                await call()
            assert (grown["commits"], grown["fetches"], grown["lists"]) == (commits, fetches, 0)
        for listing in (numbers.entries(), tree.entries(), tree.entries(("a",)), tree.namespaces()):
            with counts.growing() as grown:
                assert await listing
            assert (grown["commits"], grown["fetches"], grown["lists"]) == (0, 0, 1)


async def test_one_process_appends_to_many_sessions_in_few_commits(url: str) -> None:
    async with opened(url) as (persistence, counts):
        await asyncio.gather(*(persistence.sessions.save_session({"sessionId": f"s{n}"}) for n in range(64)))
        for cold in (True, False):
            with counts.growing() as grown:
                await asyncio.gather(
                    *(persistence.sessions.add_message(f"s{n}", UserMessage(content="x")) for n in range(64))
                )
            if persistence.driver.capabilities.group:
                assert grown["commits"] <= 3
                assert grown["fetches"] <= (3 if cold else 0)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_the_same_calls_among_few_and_among_many(scheme: str, tmp_path: Path) -> None:
    measured = []
    for size in (FEW, MANY):
        place = "memory://" if scheme == "memory" else f"sqlite:///{tmp_path.as_posix()}/{size}.db?durability=relaxed"
        async with opened(place) as (persistence, counts):
            await _fill(persistence, size)
            grown = {}
            with counts.growing() as grown["add_message"]:
                added = await persistence.sessions.add_message("s", UserMessage(content="one more"))
            assert added.seq == size
            with counts.growing() as grown["get_messages"]:
                assert len(await persistence.sessions.get_messages("s", last=50)) == 50
            with counts.growing() as grown["find_images"]:
                page = await persistence.images.find_images_by_container_id("c", limit=50)
            assert [image.image_id for image in page] == [f"i{size - 1 - n}" for n in range(50)]
            with counts.growing() as grown["count"]:
                assert await persistence.sessions.count_messages("s") == size + 1
            measured.append(grown)
    assert measured[0] == measured[1]
    assert measured[0]["get_messages"]["items"] == 50
    assert measured[0]["find_images"]["items"] == 50


async def _fill(persistence: Persistence, size: int) -> None:
    """`size` messages in one session and `size` images in one container, as the stores would write them, in bulk."""
    await persistence.sessions.save_session(SessionRecord(session_id="s"))
    images, log = persistence.images._records, persistence.sessions._messages.log("s")
    for start in range(0, size, 250):
        await log.append(
            *(f'{{"id":"{n}","subtype":"user","content":"x"}}' for n in range(start, min(start + 250, size)))
        )
    batches: list[list[Write]] = []
    for n in range(size):
        image = ImageRecord.model_validate({"imageId": f"i{n}", "containerId": "c", "sessionId": "s", "createdAt": n})
        batches.append(images.plan_save({images.key(f"i{n}"): None}, image))
    for start in range(0, size, 1000):
        merged = [write for batch in batches[start : start + 1000] for write in batch]
        for part in range(0, len(merged), 400):
            await persistence.driver.apply([_blind(write) for write in merged[part : part + 400]])


def _blind(write: Write) -> Write:
    return Put(write.key, write.value) if isinstance(write, Put) else write
