"""What events and jobs cost is counted: the same among few and among many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from limpet import Persistence, create_persistence
from limpet.opening import driver_from_url
from limpet.stores import EventQueue, WorkQueue
from limpet_conformance.faults import Counts, counted

FEW, MANY = 10, 100_000


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Persistence, EventQueue, Counts]]:
    async with (
        driver_from_url(url) as driver,
        create_persistence(driver) as persistence,
        persistence.events(prune_interval=None) as queue,
    ):
        with counted(driver) as counts:
            yield persistence, queue, counts


def calls(grown: dict[str, int]) -> tuple[int, int, int]:
    return grown["commits"], grown["fetches"], grown["lists"]


async def test_the_calls_of_events_and_jobs(url: str) -> None:
    async with opened(url) as (persistence, queue, counts):
        cursor = await queue.publish("s", 0)
        with counts.growing() as grown:
            await queue.publish("s", 1)
        assert calls(grown) == (1, 0, 0), "a warm publish is one call"
        with counts.growing() as grown:
            assert len((await queue.recover("s", cursor)).events) == 1
        assert calls(grown) == (0, 1, 1), "entries and head"
        with counts.growing() as grown:
            await queue.ack("c", "s", cursor)
        assert calls(grown) == (1, 1, 0)

        work = persistence.work("w", poll=60)
        await work.put("a", "b")
        (job,) = await work.claim()
        with counts.growing() as grown:
            await work.put("c")
        assert calls(grown) == (1, 0, 0), "a warm put is one call"
        with counts.growing() as grown:
            assert len(await work.claim(limit=2)) == 2
        assert calls(grown) == (1, 2, 1), "where the group is, the jobs and their head, and the claim"
        with counts.growing() as grown:
            await job.complete()
        assert calls(grown) == (1, 0, 0)
        with counts.growing() as grown:
            assert await work.depth() == 0
        assert calls(grown) == (0, 1, 0)


async def test_a_thousand_publishers_on_one_channel_make_few_calls(url: str) -> None:
    async with opened(url) as (persistence, queue, counts):
        await queue.publish("s", "first")
        with counts.growing() as grown:
            await asyncio.gather(*(queue.publish("s", n) for n in range(1000)))
        if persistence.driver.capabilities.group:
            assert grown["commits"] <= 20
        assert grown["fetches"] <= 20
        assert len((await queue.recover("s", limit=2000)).events) == 1001


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_the_same_calls_among_few_and_among_many(scheme: str, tmp_path: Path) -> None:
    measured = []
    for size in (FEW, MANY):
        place = "memory://" if scheme == "memory" else f"sqlite:///{tmp_path.as_posix()}/{size}.db?durability=relaxed"
        async with opened(place) as (persistence, queue, counts):
            work = persistence.work("w", poll=60)
            cursor = await _fill(queue, work, size)
            assert len(await work.claim(limit=5)) == 5
            grown: dict[str, dict[str, int]] = {}
            with counts.growing() as grown["publish"]:
                await queue.publish("s", "one more")
            with counts.growing() as grown["recover"]:
                assert [event.event for event in (await queue.recover("s", cursor)).events] == ["one more"]
            with counts.growing() as grown["ack"]:
                await queue.ack("c", "s", cursor)
            with counts.growing() as grown["put"]:
                await work.put("one more")
            with counts.growing() as grown["claim"]:
                (job,) = await work.claim()
            with counts.growing() as grown["complete"]:
                await job.complete()
            with counts.growing() as grown["depth"]:
                assert await work.depth() == size - 5
            measured.append({word: {**counts, "bytes": 0} for word, counts in grown.items()})
    assert measured[0] == measured[1]


async def _fill(queue: EventQueue, work: WorkQueue, size: int) -> str:
    """As many events and jobs, written in bulk; the last event's cursor."""
    cursor = await queue.publish("s", 0)
    await work.put(0)
    log = queue._log("s")
    for start in range(1, size, 500):
        part = range(start, min(size, start + 500))
        await log.append(*map(str, part))
        await work.put(*part)
        cursor = f"{part[-1]:016}"
    return cursor
