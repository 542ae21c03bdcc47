"""What threads and forks cost is counted: the same among few messages and among many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from limpet import Persistence, create_persistence
from limpet.driver import Range
from limpet.opening import driver_from_url
from limpet_conformance.faults import Counts, counted

FEW, MANY = 10, 100_000


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Persistence, Counts]]:
    async with driver_from_url(url) as driver, create_persistence(driver) as persistence:
        with counted(driver) as counts:
            yield persistence, counts


def calls(grown: dict[str, int]) -> tuple[int, int, int]:
    return grown["commits"], grown["fetches"], grown["lists"]


async def test_the_calls_of_threads(url: str) -> None:
    async with opened(url) as (persistence, counts):
        threads = persistence.threads
        with counts.growing() as grown:
            thread = await threads.create(user_id="u", agent_name="a", id="t")
        assert calls(grown) == (1, 1, 0)
        await threads.add_message("t", "user", "cold")
        with counts.growing() as grown:
            await threads.add_message("t", "user", "warm", tool_calls=[{"id": "c"}], metadata={"a": 1})
        assert calls(grown) == (1, 0, 0), "a warm append is one call: the thread is not written"
        with counts.growing() as grown:
            await threads.get("t")
        assert (calls(grown), grown["keys"]) == ((0, 1, 0), 3)
        with counts.growing() as grown:
            assert len(await threads.list(user_id="u", agent_name="a", limit=20)) == 1
        assert calls(grown) == (0, 2, 1)
        with counts.growing() as grown:
            await persistence.feedback.create("t", rating=5)
        assert calls(grown) == (1, 1, 0)
        with counts.growing() as grown:
            assert len(await persistence.feedback.list(thread_id="t", limit=20)) == 1
        assert calls(grown) == (0, 2, 1)
        with counts.growing() as grown:
            await threads.stats()
        assert calls(grown) == (0, 2, 0)
        with counts.growing() as grown:
            await threads.fork(thread.id, id="fork")
        assert calls(grown) == (1, 2, 0), "one call reads the fork with its message count"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_the_same_calls_among_few_and_among_many(scheme: str, tmp_path: Path) -> None:
    measured = []
    for size in (FEW, MANY):
        place = "memory://" if scheme == "memory" else f"sqlite:///{tmp_path.as_posix()}/{size}.db?durability=relaxed"
        async with opened(place) as (persistence, counts):
            threads = persistence.threads
            await _fill(persistence, size)
            await threads.add_message("t", "user", "warm")
            grown = {}
            for word, at in (("fork at the end", None), ("fork in the middle", size // 2), ("fork at the start", 0)):
                with counts.growing() as grown[word]:
                    fork = await threads.fork("t", at=at)
                assert fork.message_count == (size + 1 if at is None else at + 1)
                await threads.get_messages(fork.id, last=5)
                with counts.growing() as grown[f"{word}, read"]:
                    assert len(await threads.get_messages(fork.id, last=1)) == 1
                await threads.add_message(fork.id, "user", "cold")
                with counts.growing() as grown[f"{word}, append"]:
                    await threads.add_message(fork.id, "user", "warm")
                with counts.growing() as grown[f"{word}, last over the edge"]:
                    assert len(await threads.get_messages(fork.id, last=3)) == 3
            with counts.growing() as grown["append to the parent"]:
                await threads.add_message("t", "user", "first after a fork")
                await threads.add_message("t", "user", "warm")
            with counts.growing() as grown["get"]:
                await threads.get("t")
            with counts.growing() as grown["stats"]:
                await threads.stats(messages=True)
            with counts.growing() as grown["truncate a fork below its start"]:
                await threads.truncate_after_message(fork.id, -1)
            with counts.growing() as grown["lineage"]:
                assert len((await threads.lineage("t")).descendants) == 3
            with counts.growing() as deleted:
                await threads.delete("t")
            # Of few messages what they occupied is freed at once; many are left to upkeep.
            assert deleted["commits"] == (2 if size == MANY else 4), "the batch, and what follows when all is gone"
            assert await threads.get_messages("t", last=50) == []
            assert [each.message_count async for each in threads.list()] == [0, size // 2 + 3, size + 3]
            for word in grown:
                del grown[word]["items"]  # of pages: how many messages there were to be read
            measured.append(grown)
            async for each in threads.list():
                await threads.delete(each.id)
            assert await persistence.collect_garbage() >= (size if size == MANY else 0), "upkeep frees the rest"
            page = await persistence.driver.scan(Range("threads.messages", values=False))
            assert [item.key for item in page.items if not item.key.endswith("!n")] == []
    assert measured[0] == measured[1]
    assert calls(measured[0]["fork in the middle"]) == (1, 2, 0)
    assert calls(measured[0]["append to the parent"]) == (3, 0, 0), "a fork wrote the head: one append is refused once"
    assert calls(measured[0]["fork in the middle, append"]) == (1, 0, 0)
    assert calls(measured[0]["fork in the middle, last over the edge"]) == (0, 1, 2)


async def test_a_message_of_a_fork_of_forks_is_looked_for_where_it_is(url: str) -> None:
    async with opened(url) as (persistence, counts):
        threads = persistence.threads
        await threads.create(user_id="u", agent_name="a", id="f0")
        await threads.add_message("f0", "user", 0)
        for depth in range(1, 9):
            await threads.fork(f"f{depth - 1}", id=f"f{depth}")
            await threads.add_message(f"f{depth}", "user", depth)
        assert [each.content for each in await threads.get_messages("f8")] == list(range(9))
        with counts.growing() as grown:
            assert [each.content for each in await threads.get_messages("f8", after=2, before=4)] == [3]
        assert calls(grown) == (0, 1, 1), "one of nine logs is read"
        with counts.growing() as grown:
            assert await threads.get_messages("f8")
        assert calls(grown) == (0, 1, 9), "each of them once"
        with counts.growing() as grown:
            tree = await threads.lineage("f4")
        assert (len(tree.ancestors), len(tree.descendants)) == (4, 4)
        assert calls(grown) == (0, 3, 1), "however deep"


async def _fill(persistence: Persistence, size: int) -> None:
    """Messages as the store would write them, in bulk."""
    await persistence.threads.create(user_id="u", agent_name="a", id="t")
    log = persistence.threads._messages.log("t")
    for start in range(0, size, 250):
        await log.append(*(f'{{"id":"{n}","role":"user","content":"x"}}' for n in range(start, min(start + 250, size))))
    await asyncio.sleep(0)
