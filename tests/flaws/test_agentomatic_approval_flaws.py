"""The flaws of Agentomatic's suspended states that somebody reproduced.

As in `conftest`: each test runs on Limpet and on a small model of the old design, where it has to fail.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from limpet import AlreadyClaimedError, LimpetError, Persistence, create_persistence
from pydantic import BaseModel

Run = Callable[[], Awaitable[object]]


class OldDesign:
    """SQLAlchemyStore and the routes above it: get, delete, run; the time to live is stored and never looked at."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    async def suspend(self, id: str, state: Any, *, ttl: float = 7 * 24 * 3600) -> None:
        self.rows[id] = {"thread": "t", "state": json.dumps(state), "ttl": ttl}

    async def approve(self, id: str, run: Run, *, thread: str = "t", by: str = "alice") -> bool:
        row = self.rows.get(id)
        await asyncio.sleep(0)
        if row is None:
            return False
        self.rows.pop(id, None)
        await run()
        return True

    async def open_ids(self) -> list[str]:
        return list(self.rows)

    async def state(self, id: str) -> Any:
        return json.loads(self.rows[id]["state"])

    async def decision(self, id: str) -> tuple[str, str] | None:
        return None

    async def cleaned(self) -> int:
        """Nobody calls the cleanup that there is."""
        return 0


class NewDesign:
    """The same on Limpet."""

    def __init__(self, persistence: Persistence) -> None:
        self.persistence = persistence

    async def suspend(self, id: str, state: Any, *, ttl: float = 7 * 24 * 3600) -> None:
        await self.persistence.approvals.create(
            id=id, thread_id="t", agent_name="planner", node_name="pay", state=state, ttl=ttl
        )

    async def approve(self, id: str, run: Run, *, thread: str = "t", by: str = "alice") -> bool:
        try:
            claim = await self.persistence.approvals.claim(id, by=by, decision="approve", thread_id=thread)
        except (AlreadyClaimedError, KeyError):
            return False
        async with claim:
            await run()
        return True

    async def open_ids(self) -> list[str]:
        return [approval.id for approval in await self.persistence.approvals.list()]

    async def state(self, id: str) -> Any:
        approval = await self.persistence.approvals.get(id)
        assert approval is not None
        return approval.state

    async def decision(self, id: str) -> tuple[str, str] | None:
        approval = await self.persistence.approvals.get(id)
        assert approval is not None
        return None if approval.claim is None else (approval.claim.by, approval.claim.decision)

    async def cleaned(self) -> int:
        return await self.persistence.purge()


Design = OldDesign | NewDesign
OLD = pytest.param(
    "old", marks=pytest.mark.xfail(strict=True, reason="the flaw of the old design", raises=(AssertionError, TypeError))
)


@pytest.fixture(params=["new", OLD])
async def design(request: pytest.FixtureRequest) -> AsyncIterator[Design]:
    if request.param == "old":
        yield OldDesign()
        return
    async with create_persistence("memory://") as persistence:
        yield NewDesign(persistence)


async def nothing() -> None:
    await asyncio.sleep(0)


async def test_five_who_approve_at_once_run_it_once(design: Design) -> None:
    await design.suspend("a", {})
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)

    answers = await asyncio.gather(*(design.approve("a", run) for _ in range(5)))
    assert (answers.count(True), runs) == (1, 1)


async def test_a_crash_while_it_resumes_keeps_the_approval(design: Design) -> None:
    await design.suspend("a", {"sum": 12})

    async def crash() -> None:
        raise ConnectionError("the agent died here")

    with pytest.raises(ConnectionError):
        await design.approve("a", crash)
    assert await design.open_ids() == ["a"]
    assert await design.approve("a", nothing)


async def test_what_has_expired_is_neither_shown_nor_approved(design: Design) -> None:
    await design.suspend("a", {}, ttl=0.02)
    await asyncio.sleep(0.05)
    assert await design.open_ids() == []
    assert not await design.approve("a", nothing)


async def test_what_has_expired_is_freed_without_being_asked_for(design: Design) -> None:
    await design.suspend("a", {}, ttl=0.02)
    await asyncio.sleep(0.05)
    assert await design.cleaned() >= 1


async def test_another_threads_page_approves_nothing(design: Design) -> None:
    await design.suspend("a", {})
    assert not await design.approve("a", nothing, thread="another")
    assert await design.approve("a", nothing)


async def test_who_decided_is_kept(design: Design) -> None:
    await design.suspend("a", {})
    await design.approve("a", nothing, by="bob")
    assert await design.decision("a") == ("bob", "approve")


async def test_a_state_may_hold_messages_that_are_models(design: Design) -> None:
    class HumanMessage(BaseModel):
        content: str

    await design.suspend("a", {"messages": [HumanMessage(content="Pay?")]})
    assert await design.state("a") == {"messages": [{"content": "Pay?"}]}


async def test_the_same_id_twice_is_an_error_of_ours_and_changes_nothing(design: Design) -> None:
    await design.suspend("a", {"first": True})
    with suppress(LimpetError):
        await design.suspend("a", {"first": False})
    assert await design.state("a") == {"first": True}
