"""How often agent state and key-value stores ask the backend, on every driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from limpet import Persistence, create_persistence
from limpet.opening import driver_from_url
from limpet.state import AgentState, BaseAgentState
from limpet_conformance.faults import Counts, counted


class CounterState(BaseAgentState):
    count: int = 0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Persistence, Counts]]:
    async with driver_from_url(url) as driver, create_persistence(driver) as persistence:
        with counted(driver) as counts:
            yield persistence, counts


@contextmanager
def calls(counts: Counts, *, fetches: int = 0, commits: int = 0, lists: int = 0) -> Iterator[None]:
    before = (counts.fetches, counts.commits, counts.lists)
    yield
    after = (counts.fetches, counts.commits, counts.lists)
    assert tuple(now - then for now, then in zip(after, before, strict=True)) == (fetches, commits, lists)


async def increment(state: AgentState[CounterState]) -> None:
    async with state as held:
        held.count += 1


@pytest.mark.parametrize("history", [0, 3])
async def test_the_state_is_three_calls_at_most_when_nobody_else_wants_it(url: str, history: int) -> None:
    async with opened(url) as (persistence, counts):
        mine, other = (persistence.state(CounterState, "__agent_c", history=history) for _ in range(2))
        with calls(counts, fetches=1, commits=2):
            await increment(mine)
        for _ in range(5):
            with calls(counts, commits=2):
                await increment(mine)
        with calls(counts, fetches=1, commits=2):
            await increment(other)
        with calls(counts, commits=3):
            await increment(mine)  # what it assumed is no longer so: the refusal carries what is
        with calls(counts, commits=2):
            async with mine:
                pass
        with calls(counts, fetches=1):
            assert (await mine.get_state()).count == 8
        with calls(counts, commits=2):
            await mine.clear_state()
        with calls(counts, fetches=1, commits=2):
            await increment(mine)
        with calls(counts, commits=3):
            await increment(other)


async def test_reading_a_state_that_is_not_there_is_three_calls_too(url: str) -> None:
    async with opened(url) as (persistence, counts):
        state = persistence.state(CounterState, "__agent_c")
        for _ in range(2):
            with calls(counts, fetches=1, commits=2):
                async with state:
                    pass


async def test_history_is_two_calls(url: str) -> None:
    async with opened(url) as (persistence, counts):
        state = persistence.state(CounterState, "__agent_c", history=5)
        for _ in range(7):
            await increment(state)
        with calls(counts, fetches=2):
            assert len(await state.history.list()) == 5
        with calls(counts, fetches=1):
            await state.history.get(7)


async def test_a_key_value_call_is_one_call(url: str) -> None:
    async with opened(url) as (persistence, counts):
        store = persistence.kv(int, "n")
        for _ in range(2):
            with calls(counts, commits=1):
                await store.set("k", 1)
        with calls(counts, commits=1):
            await store.replace("k", 1)
        with calls(counts, commits=1):
            await store.set_many({f"k{n}": n for n in range(100)})
        with calls(counts, fetches=1):
            await store.get("k")
        with calls(counts, fetches=1):
            await store.get_many(f"k{n}" for n in range(100))
        with calls(counts, fetches=1):
            await store.exists("k")
        with calls(counts, fetches=1, commits=1):
            await store.update("k", lambda n: n + 1)
        with calls(counts, lists=1):
            assert len(await store.list(limit=50)) == 50
        with calls(counts, lists=1):
            assert len(await store.keys(limit=50)) == 50
        with calls(counts, commits=1):
            assert await store.delete("k")
        with calls(counts, commits=1):
            assert not await store.delete("k")
