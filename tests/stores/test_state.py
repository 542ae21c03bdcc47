"""Agent state, on every driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from limpet import (
    ConfigurationError,
    CorruptDataError,
    InvalidValueError,
    LeaseLostError,
    LeaseTimeoutError,
    NestedLeaseError,
    OutcomeUnknownError,
    Persistence,
    UnavailableError,
    create_persistence,
)
from limpet.driver import Delete, Driver, Put, key, name, text
from limpet.opening import driver_from_url
from limpet.state import AgentState, BaseAgentState, StatefulAgent
from limpet.structures import Migrations
from limpet_conformance.faults import dropped, swallowed
from pydantic import BaseModel, Field, PrivateAttr


class CounterState(BaseAgentState):
    count: int = 0
    log: list[str] = Field(default_factory=list)


class CounterAgent(StatefulAgent[CounterState]):
    async def increment(self) -> int:
        async with self.state as state:
            state.count += 1
            await asyncio.sleep(0)
            return state.count


@pytest.fixture
def agent(persistence: Persistence) -> CounterAgent:
    return CounterAgent(persistence=persistence, name="counter")


@pytest.fixture
async def pair(url: str) -> AsyncIterator[tuple[Persistence, Persistence]]:
    """Two openings of one place, as in two processes; in memory two on one driver."""
    if "memory:" in url:
        async with driver_from_url(url) as driver, create_persistence(driver) as a, create_persistence(driver) as b:
            yield a, b
    else:
        async with create_persistence(url) as a, create_persistence(url) as b:
            yield a, b


def state_of(persistence: Persistence, **options: Any) -> AgentState[CounterState]:
    return persistence.state(CounterState, "__agent_counter", **options)


async def test_what_changed_in_the_block_is_saved(agent: CounterAgent, persistence: Persistence) -> None:
    assert [await agent.increment() for _ in range(3)] == [1, 2, 3]
    assert await agent.get_state() == CounterState(count=3)
    other = CounterAgent(persistence=persistence, name="counter")
    assert await other.increment() == 4
    assert await agent.increment() == 5


async def test_states_and_records_are_kept_apart(agent: CounterAgent, persistence: Persistence) -> None:
    await agent.increment()
    (item,) = await persistence.driver.get(["state!@__agent_counter!@state"])
    assert item is not None
    assert item.value == '{"count":1,"log":[]}'
    records = persistence.kv(CounterState, "__agent_counter")
    await records.set("state", CounterState(count=9))
    assert await agent.get_state() == CounterState(count=1)
    assert await records.clear() == 1
    assert await agent.increment() == 2
    assert await agent.state.clear_state()
    assert await records.get("state") is None


async def dirty(agent: CounterAgent) -> None:
    async with agent.state as state:
        state.count = 100
        state.log.append("dirty")
        raise ZeroDivisionError


async def test_after_an_exception_nothing_is_saved_and_nothing_dirty_kept(agent: CounterAgent) -> None:
    await agent.increment()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await dirty(agent)
        assert await agent.get_state() == CounterState(count=1)
    assert await agent.increment() == 2
    assert await agent.get_state() == CounterState(count=2)


async def test_nothing_is_written_when_nothing_changed(url: str) -> None:
    async with driver_from_url(url) as driver, create_persistence(driver, batching=False) as persistence:
        agent = CounterAgent(persistence=persistence, name="counter")
        async with agent.state as state:
            assert state.count == 0
        assert await persistence.state(CounterState, "__agent_counter").get_state() == CounterState()
        assert await driver.get(["state!@__agent_counter!@state"]) == [None], "reading makes no record"
        await agent.increment()
        (before,) = await driver.get(["state!@__agent_counter!@state"])
        async with agent.state as state:
            state.count += 1
            state.count -= 1
        assert await driver.get(["state!@__agent_counter!@state"]) == [before]


async def test_get_state_is_a_copy(agent: CounterAgent) -> None:
    await agent.increment()
    copy = await agent.get_state()
    copy.count = 100
    copy.log.append("x")
    assert await agent.get_state() == CounterState(count=1)
    async with agent.state as state:
        kept = state
        state.log.append("saved")
    kept.log.append("later")
    assert await agent.get_state() == CounterState(count=1, log=["saved"])


async def test_with_state_takes_functions_of_both_kinds(agent: CounterAgent) -> None:
    def plain(state: CounterState) -> str:
        state.count += 1
        return "plain"

    async def other(state: CounterState) -> CounterState:
        await asyncio.sleep(0)
        state.count += 1
        return state

    def bad(state: CounterState) -> None:
        state.count = 100
        raise ZeroDivisionError

    assert await agent.with_state(plain) == "plain"
    assert (await agent.with_state(other)).count == 2
    with pytest.raises(ZeroDivisionError):
        await agent.with_state(bad)
    assert (await agent.get_state()).count == 2


async def test_clear_state_removes_it(agent: CounterAgent, persistence: Persistence) -> None:
    assert await agent.clear_state() is False
    await agent.increment()
    fresh = CounterAgent(persistence=persistence, name="counter")
    assert await fresh.clear_state() is True, "also on an agent that has not used it"
    assert await agent.get_state() == CounterState()
    assert await agent.increment() == 1
    assert await agent.clear_state() is True
    assert await fresh.increment() == 1


async def test_tasks_queue_up_and_lose_nothing(pair: tuple[Persistence, Persistence]) -> None:
    agents = [CounterAgent(persistence=persistence, name="counter") for persistence in pair for _ in range(2)]
    counts = await asyncio.gather(*(agent.increment() for agent in agents for _ in range(10)))
    assert sorted(counts) == list(range(1, 41))


async def test_tasks_on_one_object_come_in_their_order(agent: CounterAgent) -> None:
    order = []

    async def work(n: int) -> None:
        async with agent.state as state:
            order.append(n)
            state.count += 1

    await asyncio.gather(*(work(n) for n in range(10)))
    assert order == list(range(10))


async def test_nested_entry_is_an_error_and_not_a_deadlock(agent: CounterAgent, persistence: Persistence) -> None:
    twin = CounterAgent(persistence=persistence, name="counter")
    async with agent.state as state:
        state.count = 5
        for nested in (agent.increment(), twin.increment(), agent.clear_state(), agent.with_state(lambda s: None)):
            with pytest.raises(NestedLeaseError, match="already"):
                async with asyncio.timeout(5):
                    await nested
        assert await agent.get_state() == CounterState(), "reading needs no lease"
    assert await agent.increment() == 6
    with pytest.raises(RuntimeError):
        async with agent.state, agent.state:
            pass
    assert await agent.increment() == 7


async def test_waiting_ends_with_the_timeout(pair: tuple[Persistence, Persistence]) -> None:
    mine, other = (state_of(persistence, timeout=0.2) for persistence in pair)
    same = state_of(pair[0], timeout=0.2)
    async with mine as state:
        state.count = 1
        for waiting in (other, same):
            with pytest.raises(LeaseTimeoutError):
                await asyncio.create_task(waiting.clear_state())
    assert await other.clear_state()


async def test_a_lost_lease_saves_nothing(pair: tuple[Persistence, Persistence]) -> None:
    slow, quick = (state_of(persistence, lease=0.2) for persistence in pair)
    async with slow as state:
        state.count = 1
    entered = await slow.__aenter__()
    entered.count = 100
    await _expire(slow, pair[0].driver)
    async with quick as state:
        state.count += 1
    with pytest.raises(LeaseLostError, match="nothing was saved"):
        await slow.__aexit__(None, None, None)
    assert (await slow.get_state()).count == 2
    async with slow as state:
        state.count += 1
    assert (await quick.get_state()).count == 3


async def _expire(state: AgentState[Any], driver: Driver) -> None:
    """As if the process had been stopped for longer than the lease lasts."""
    await driver.apply([Delete(state._lease.base)])


async def test_who_was_stopped_for_long_still_saves_where_nobody_else_came(persistence: Persistence) -> None:
    state = state_of(persistence)
    entered = await state.__aenter__()
    entered.count = 7
    await _expire(state, persistence.driver)
    await state.__aexit__(None, None, None)
    assert (await state.get_state()).count == 7


async def test_a_long_block_keeps_its_lease(pair: tuple[Persistence, Persistence]) -> None:
    mine, other = state_of(pair[0], lease=0.3), state_of(pair[1], lease=0.3, timeout=0)
    async with mine as state:
        state.count = 1
        for _ in range(8):
            await asyncio.sleep(0.1)
            with pytest.raises(LeaseTimeoutError):
                await other.clear_state()
    assert (await other.get_state()).count == 1


async def test_what_somebody_else_wrote_past_the_lease_is_not_overwritten(persistence: Persistence) -> None:
    state = persistence.state(dict, "mine")
    at = key(name("state"), text("mine"), text("state"))

    async def change() -> None:
        async with state as held:
            held["by"] = "the block"
            await persistence.driver.apply([Put(at, '{"by":"somebody else"}')])

    for there in ({}, {"by": "somebody else"}):
        assert await state.get_state() == there
        with pytest.raises(LeaseLostError, match="nothing was saved"):
            await change()
        assert await state.get_state() == {"by": "somebody else"}
    async with asyncio.timeout(5), state as held:
        held["by"] = "the block"
    assert await state.get_state() == {"by": "the block"}


@pytest.mark.parametrize("delay", [0.0, 0.0002, 0.001, 0.003, 0.01])
async def test_a_cancelled_task_leaves_the_state_free(pair: tuple[Persistence, Persistence], delay: float) -> None:
    mine, other = (state_of(persistence) for persistence in pair)
    async with mine as state:
        state.count = 1

    async def work() -> None:
        while True:
            async with mine as state:
                state.count += 1

    task = asyncio.create_task(work())
    await asyncio.sleep(delay)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5):
        async with other as state:
            state.log.append("free")
        async with mine as state:
            assert state.log == ["free"]


async def test_cancelled_while_waiting_for_its_turn(agent: CounterAgent) -> None:
    async with agent.state as state:
        waiting = [asyncio.create_task(agent.increment()) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[1].cancel()
        await asyncio.sleep(0.01)
        state.count = 10
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results[0] == 11
    assert isinstance(results[1], asyncio.CancelledError)
    assert results[2] == 12


async def test_what_cannot_be_stored_is_refused_and_the_state_stays_usable(
    agent: CounterAgent, persistence: Persistence
) -> None:
    await agent.increment()
    with pytest.raises(InvalidValueError):
        async with agent.state as state:
            state.count = "many"  # type: ignore[assignment]
    assert await agent.increment() == 2
    with pytest.raises(ValueError):
        async with agent.state as state:
            state.log.append("x" * persistence.driver.capabilities.max_value_bytes)
    assert await agent.increment() == 3


async def test_lost_answers_at_both_ends(url: str) -> None:
    async with driver_from_url(url) as driver, create_persistence(driver) as persistence:
        agent = CounterAgent(persistence=persistence, name="counter")
        await agent.increment()
        with swallowed(driver, times=1):
            assert await agent.increment() == 2, "the answer to the acquisition was lost, and read back"
        state = state_of(persistence)
        entered = await state.__aenter__()
        entered.count += 1
        with swallowed(driver, times=1):
            await state.__aexit__(None, None, None)
        assert await agent.increment() == 4
        entered = await state.__aenter__()
        entered.count += 1
        with pytest.raises((UnavailableError, OutcomeUnknownError)), dropped(driver, times=20):
            await state.__aexit__(None, None, None)


# What a state is made of.


class Needs(BaseAgentState):
    owner: str


async def test_required_fields_need_a_factory(persistence: Persistence) -> None:
    class Owned(StatefulAgent[Needs]):
        pass

    with pytest.raises(ConfigurationError, match="state_factory"):
        await Owned(persistence=persistence).get_state()
    with pytest.raises(ConfigurationError, match="owner"):
        async with Owned(persistence=persistence).state:
            pass
    agent = Owned(persistence=persistence, state_factory=lambda: Needs(owner="ada"))
    async with agent.state as state:
        assert state.owner == "ada"
        state.owner = "bo"
    assert await Owned(persistence=persistence).get_state() == Needs(owner="bo"), "what is stored needs none"


def test_a_field_that_the_state_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError):
        CounterState(cuont=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError):
        CounterState().cuont = 1  # type: ignore[attr-defined]


@dataclass
class Plain:
    n: int = 0
    names: list[str] = field(default_factory=list)


class Hidden(BaseModel):
    n: int = 0
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)


@pytest.mark.parametrize("kind", [Plain, Hidden])
async def test_states_of_other_types(persistence: Persistence, kind: type[Any]) -> None:
    state = persistence.state(kind, "mine")
    async with state as held:
        held.n += 1
        if kind is Hidden:
            held._cache["x"] = 1
    assert (await state.get_state()).n == 1
    mapping = persistence.state(dict, "mapping")
    async with mapping as held:
        held["a"] = [1]
    assert await mapping.get_state() == {"a": [1]}


async def test_migrations(persistence: Persistence) -> None:
    class Old(BaseAgentState):
        total: int = 0

    async with persistence.state(Old, "mine") as old:
        old.total = 7
    with pytest.raises(CorruptDataError, match="'state' in the namespace 'mine'"):
        await persistence.state(CounterState, "mine").get_state()
    migrations = Migrations(version=2)
    migrations.step(1)(lambda document: {"count": document["total"]})
    state = persistence.state(CounterState, "mine", migrations=migrations)
    assert await state.get_state() == CounterState(count=7)
    async with state as held:
        held.count += 1
    assert await state.get_state() == CounterState(count=8)
    with pytest.raises(CorruptDataError, match="upgrade the program"):
        async with persistence.state(Old, "mine"):
            pass
