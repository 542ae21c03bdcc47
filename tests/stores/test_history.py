"""The revisions of an agent's state, on every driver."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from limpet import ConfigurationError, CorruptDataError, NotFoundError, Persistence, create_persistence
from limpet.driver import Put
from limpet.driver.kit import scan_all
from limpet.opening import driver_from_url
from limpet.state import AgentState, BaseAgentState, StatefulAgent
from limpet.structures import Migrations
from limpet_conformance.faults import counted


class CounterState(BaseAgentState):
    count: int = 0


class CounterAgent(StatefulAgent[CounterState]):
    async def increment(self) -> int:
        async with self.state as state:
            state.count += 1
            return state.count


def state_of(persistence: Persistence, **options: Any) -> AgentState[CounterState]:
    return persistence.state(CounterState, "__agent_counter", **options)


async def test_history_keeps_the_last_revisions(persistence: Persistence) -> None:
    agent = CounterAgent(persistence=persistence, name="counter", state_history=3)
    for _ in range(5):
        await agent.increment()
    async with agent.state:
        pass
    history = agent.state.history
    revisions = await history.list()
    assert [(revision.number, revision.state.count) for revision in revisions] == [(5, 5), (4, 4), (3, 3)]
    assert revisions[0].saved_at - revisions[2].saved_at < timedelta(minutes=1)
    assert await history.get(4) == revisions[1]
    assert await history.get(2) is None
    assert await history.restore(3) == CounterState(count=3)
    assert await agent.get_state() == CounterState(count=3)
    assert [revision.number for revision in await history.list()] == [6, 5, 4]
    with pytest.raises(NotFoundError, match="revision 1 "):
        await history.restore(1)
    assert await agent.clear_state()
    assert len(await history.list()) == 3
    await history.restore(5)
    assert await agent.increment() == 6
    assert await CounterAgent(persistence=persistence, name="counter").clear_state(history=True)
    assert await history.list() == []
    assert len([item async for item in scan_all(persistence.driver, "history")]) == 1, "only the last number is kept"
    await agent.increment()
    assert [revision.number for revision in await history.list()] == [9], "numbers are never used again"


async def test_history_of_fewer_and_of_none(persistence: Persistence) -> None:
    many = state_of(persistence, history=5)
    for n in range(5):
        async with many as state:
            state.count = n + 1
    few = state_of(persistence, history=2)
    async with few as state:
        state.count = 50
    assert [revision.state.count for revision in await few.history.list()] == [50, 5]
    none = state_of(persistence)
    async with none as state:
        state.count = 60
    assert [revision.state.count for revision in await none.history.list()] == [50, 5]
    assert await state_of(persistence, key="other").history.list() == []
    for bad in (-1, 257):
        with pytest.raises(ConfigurationError):
            state_of(persistence, history=bad)


async def test_revisions_migrate_and_long_names_keep_theirs(persistence: Persistence) -> None:
    namespace = "n" * 300
    old = persistence.state(dict, namespace, history=2)
    async with old as held:
        held["total"] = 7
    migrations = Migrations(version=2)
    migrations.step(1)(lambda document: {"count": document["total"]})
    state = persistence.state(CounterState, namespace, history=2, migrations=migrations)
    async with state as now:
        now.count += 1
    assert [revision.state.count for revision in await state.history.list()] == [8, 7]
    assert (await state.history.restore(1)).count == 7
    assert (await state.get_state()).count == 7


async def test_a_damaged_history_is_said(persistence: Persistence) -> None:
    state = state_of(persistence, history=2)
    for damage in ("{", "[]"):
        await persistence.driver.apply([Put("history!state!@__agent_counter!@state", damage)])
        with pytest.raises(CorruptDataError, match="history"):
            await state.history.list()
    assert await state.get_state() == CounterState()


@pytest.mark.usefixtures("proofs_apart")
async def test_a_revision_comes_with_its_state_or_not_at_all(url: str) -> None:
    async with driver_from_url(url) as driver, create_persistence(driver) as persistence:
        state = state_of(persistence, history=2)
        async with state as held:
            held.count = 1
        with counted(driver) as counts:
            async with state as held:
                held.count = 2
        assert (counts.commits, counts.fetches) == (2, 0)
