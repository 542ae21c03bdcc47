"""Approvals: one claim wins, a claim whose holder is gone comes back, time is kept on every read."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from limpet import (
    ALL,
    AlreadyClaimedError,
    ConflictError,
    InvalidKeyError,
    InvalidValueError,
    LeaseLostError,
    NotFoundError,
    Persistence,
    create_persistence,
)
from limpet.driver import Range
from limpet.records import ApprovalRecord, UserMessage
from limpet_conformance.faults import skewed


async def suspended(persistence: Persistence, id: str = "a", **changes: Any) -> ApprovalRecord:
    asked: dict[str, Any] = {"thread_id": "t", "agent_name": "planner", "node_name": "pay", "state": {"sum": 12}}
    return await persistence.approvals.create(id=id, **{**asked, **changes})


async def test_the_way_of_an_approval(persistence: Persistence) -> None:
    approvals = persistence.approvals
    asked = await approvals.create(
        thread_id="t", agent_name="planner", node_name="pay", state={"sum": 12}, metadata={"page": "/pay"}
    )
    assert await approvals.get(asked.id) == asked
    assert (asked.status, asked.attempts, asked.state, asked.metadata) == ("pending", 0, {"sum": 12}, {"page": "/pay"})
    assert asked.expires_at - asked.created_at == timedelta(days=7)
    claim = await approvals.claim(asked.id, by="alice", decision="approve", reason="cheap")
    assert claim.approval.state == {"sum": 12}
    held = await approvals.get(asked.id)
    assert held is not None
    assert (held.status, held.attempts) == ("claimed", 1)
    done = await claim.complete()
    assert await claim.complete() == done, "once more does no harm"
    found = await approvals.get(asked.id)
    assert found == done
    assert done.status == "decided"
    assert done.claim is not None
    assert (done.claim.by, done.claim.decision, done.claim.reason) == ("alice", "approve", "cheap")
    assert done.decided_at is not None
    assert done.decided_at >= done.claim.claimed_at


async def test_of_many_claims_one_wins_and_the_others_learn_who(persistence: Persistence) -> None:
    await suspended(persistence)
    claims = [persistence.approvals.claim("a", by=f"p{n}", decision="approve") for n in range(20)]
    answers = await asyncio.gather(*claims, return_exceptions=True)
    won = [n for n, answer in enumerate(answers) if not isinstance(answer, BaseException)]
    assert len(won) == 1
    lost = [answer for answer in answers if isinstance(answer, AlreadyClaimedError)]
    assert len(lost) == 19
    assert {error.by for error in lost} == {f"p{won[0]}"}
    assert all(f"p{won[0]} claimed" in str(error) for error in lost)


async def test_what_is_decided_cannot_be_claimed(persistence: Persistence) -> None:
    await suspended(persistence)
    await (await persistence.approvals.claim("a", by="alice", decision="reject")).complete()
    with pytest.raises(AlreadyClaimedError, match="alice claimed the approval 'a' to reject it") as caught:
        await persistence.approvals.claim("a", by="bob", decision="approve")
    assert caught.value.decided


async def test_given_back_it_may_be_claimed_again(persistence: Persistence) -> None:
    await suspended(persistence)
    claim = await persistence.approvals.claim("a", by="alice", decision="approve")
    await claim.give_back()
    with pytest.raises(LeaseLostError):
        await claim.complete()
    again = await persistence.approvals.claim("a", by="bob", decision="approve")
    assert again.approval.attempts == 2


async def test_a_claim_that_nobody_renews_comes_back_and_its_late_end_is_refused_once_somebody_has_it(
    persistence: Persistence,
) -> None:
    await suspended(persistence)
    late = await persistence.approvals.claim("a", by="alice", decision="approve", lease=0.05)
    await asyncio.sleep(0.1)
    found = await persistence.approvals.get("a")
    assert found is not None
    assert (found.status, found.attempts) == ("pending", 1)
    with pytest.raises(LeaseLostError):
        await late.renew()
    assert late.lost.is_set()
    second = await persistence.approvals.claim("a", by="bob", decision="reject")
    assert second.approval.attempts == 2
    with pytest.raises(LeaseLostError, match="claim it if it is pending"):
        await late.complete()
    await late.give_back()
    assert (await second.complete()).claim == second.approval.claim


async def test_what_was_carried_out_too_late_is_completed_if_nobody_else_came(
    persistence: Persistence, face: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A payment in a block that holds the event loop is not made twice."""
    await suspended(persistence)
    async with await persistence.approvals.claim("a", by="ada", decision="approve", lease=0.05):
        time.sleep(0.15)  # noqa: ASYNC251 - what the test is about
    found = await persistence.approvals.get("a")
    assert found is not None
    assert (found.status, found.attempts) == ("decided", 1)
    assert ("asyncio.to_thread" in caplog.text) == (face == "itself")  # the others have a loop that is free
    with pytest.raises(AlreadyClaimedError):
        await persistence.approvals.claim("a", by="bob", decision="approve")


async def test_a_late_end_and_a_new_claim_never_both_succeed(persistence: Persistence) -> None:
    for n in range(10):
        await suspended(persistence, id=f"a{n}")
        late = await persistence.approvals.claim(f"a{n}", by="ada", decision="approve", lease=0.02)
        await asyncio.sleep(0.04)
        outcomes = await asyncio.gather(
            late.complete(), persistence.approvals.claim(f"a{n}", by="bob", decision="reject"), return_exceptions=True
        )
        assert [isinstance(outcome, Exception) for outcome in outcomes].count(True) == 1, outcomes
        assert all(
            isinstance(each, (LeaseLostError, AlreadyClaimedError)) for each in outcomes if isinstance(each, Exception)
        )


async def test_a_block_renews_completes_and_gives_back(persistence: Persistence) -> None:
    await suspended(persistence)
    await suspended(persistence, "b")
    async with await persistence.approvals.claim("a", by="alice", decision="approve", lease=0.6) as claim:
        await asyncio.sleep(1.0)
        assert not claim.lost.is_set()
    found = await persistence.approvals.get("a")
    assert found is not None
    assert found.status == "decided"
    with pytest.raises(ZeroDivisionError):
        async with await persistence.approvals.claim("b", by="alice", decision="approve"):
            raise ZeroDivisionError
    found = await persistence.approvals.get("b")
    assert found is not None
    assert (found.status, found.attempts) == ("pending", 1)


async def test_a_claim_asks_whose_approval_it_is(persistence: Persistence) -> None:
    await suspended(persistence)
    for thread, agent in (("another", ALL), (ALL, "another"), ("t", "another")):
        with pytest.raises(NotFoundError, match="another"):
            await persistence.approvals.claim("a", by="alice", decision="approve", thread_id=thread, agent_name=agent)
    with pytest.raises(NotFoundError, match="'b'"):
        await persistence.approvals.claim("b", by="alice", decision="approve")
    await persistence.approvals.claim("a", by="alice", decision="approve", thread_id="t", agent_name="planner")


async def test_nothing_shows_what_has_expired_whatever_a_clock_says(persistence: Persistence) -> None:
    await suspended(persistence, "long")
    await suspended(persistence, "short", ttl=0.05)
    await asyncio.sleep(0.1)
    with skewed(-600):
        assert await persistence.approvals.get("short") is None
        assert [each.id for each in await persistence.approvals.list()] == ["long"]
        assert [each.id for each in await persistence.approvals.list(thread_id="t")] == ["long"]
        with pytest.raises(NotFoundError, match="it has expired"):
            await persistence.approvals.claim("short", by="alice", decision="approve")
    with skewed(8 * 24 * 3600):
        assert await persistence.approvals.get("long") is not None
    assert await persistence.approvals.purge() == 1
    assert await persistence.approvals.purge() == 0
    assert [each.id for each in await persistence.approvals.list()] == ["long"]


async def test_a_claim_outlives_the_time_to_claim(persistence: Persistence) -> None:
    await suspended(persistence, ttl=0.3)
    claim = await persistence.approvals.claim("a", by="alice", decision="approve", lease=60)
    await asyncio.sleep(0.4)
    assert await persistence.approvals.purge() == 0
    assert (await claim.complete()).status == "decided"


async def test_lists_by_thread_agent_and_both_newest_first(persistence: Persistence) -> None:
    for n in range(6):
        await suspended(persistence, f"a{n}", thread_id=f"t{n % 2}", agent_name=f"g{n % 3}")
        await asyncio.sleep(0.002)
    approvals = persistence.approvals
    assert [each.id for each in await approvals.list()] == [f"a{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert [each.id for each in await approvals.list(thread_id="t1")] == ["a5", "a3", "a1"]
    assert [each.id for each in await approvals.list(agent_name="g1")] == ["a4", "a1"]
    assert [each.id for each in await approvals.list(thread_id="t1", agent_name="g1")] == ["a1"]
    page = await approvals.list(limit=4)
    assert [each.id for each in page] == ["a5", "a4", "a3", "a2"]
    assert [each.id for each in await approvals.list(limit=4, cursor=page.cursor)] == ["a1", "a0"]
    await (await approvals.claim("a3", by="alice", decision="approve")).complete()
    await approvals.claim("a1", by="alice", decision="approve")
    assert [(each.id, each.status) for each in await approvals.list(thread_id="t1")] == [
        ("a5", "pending"),
        ("a1", "claimed"),
    ]
    assert [each.id for each in await approvals.list(thread_id="t1", decided=True)] == ["a3"]
    assert [each.id for each in await approvals.list(agent_name="g0", decided=True)] == ["a3"]


async def test_a_state_may_be_made_of_models_and_dates(persistence: Persistence) -> None:
    """LangChain's messages are pydantic models, which JSON columns refused."""
    state = {"messages": [UserMessage(content="Pay?")], "since": datetime(2026, 1, 1, tzinfo=UTC)}
    await suspended(persistence, state=state)
    found = await persistence.approvals.get("a")
    assert found is not None
    assert found.state["messages"][0]["content"] == "Pay?"
    assert found.state["since"] == "2026-01-01T00:00:00Z"
    with pytest.raises(InvalidValueError, match="JSON"):
        await suspended(persistence, "b", state={"socket": object()})


async def test_an_id_is_taken_once(persistence: Persistence) -> None:
    await suspended(persistence)
    with pytest.raises(ConflictError, match="the approval 'a' already exists: choose another id"):
        await suspended(persistence, state={"other": True})
    found = await persistence.approvals.get("a")
    assert found is not None
    assert found.state == {"sum": 12}


@pytest.mark.parametrize("ttl", [None, 0, -1, "7", True])
async def test_a_time_that_is_none(persistence: Persistence, ttl: Any) -> None:
    with pytest.raises(InvalidValueError, match="ttl"):
        await suspended(persistence, ttl=ttl)
    with pytest.raises(InvalidValueError, match="less than 100,000,000,000 seconds"):
        await suspended(persistence, ttl=float("inf"))
    await suspended(persistence)
    with pytest.raises(InvalidValueError, match=r"lease (is|must)"):
        await persistence.approvals.claim("a", by="alice", decision="approve", lease=ttl)
    claim = await persistence.approvals.claim("a", by="alice", decision="approve")
    assert repr(claim).startswith("Claim(ApprovalRecord(id='a'")


async def test_deleted_is_gone_for_its_holder_too(persistence: Persistence) -> None:
    await suspended(persistence)
    claim = await persistence.approvals.claim("a", by="alice", decision="approve")
    assert await persistence.approvals.delete("a")
    assert not await persistence.approvals.delete("a")
    with pytest.raises(LeaseLostError):
        await claim.complete()
    assert await persistence.approvals.get("a") is None
    await suspended(persistence)
    assert (await persistence.approvals.claim("a", by="bob", decision="approve")).approval.attempts == 1


async def test_cleaning_up_takes_old_decisions_where_it_is_told(persistence: Persistence) -> None:
    await suspended(persistence)
    await suspended(persistence, "open")
    await (await persistence.approvals.claim("a", by="alice", decision="approve")).complete()
    await asyncio.sleep(0.05)
    assert await persistence.approvals.purge() == 0
    assert await persistence.approvals.prune(max_age=timedelta(hours=1)) == 0
    assert await persistence.approvals.prune(max_age=timedelta(milliseconds=10)) == 1
    assert await persistence.approvals.get("a") is None
    assert await persistence.approvals.get("open") is not None


async def test_upkeep_purges_by_itself(persistence: Persistence) -> None:
    await suspended(persistence, ttl=0.02)
    await asyncio.sleep(0.05)
    async with persistence.upkeep(every=timedelta(hours=1)) as upkeep:
        async with asyncio.timeout(10):
            while not upkeep.passes:  # noqa: ASYNC110 - it counts, and tells nobody
                await asyncio.sleep(0.01)
    page = await persistence.driver.scan(Range("approvals"))
    assert not page.items


async def test_what_a_block_raises_goes_on_though_nothing_can_be_given_back() -> None:
    persistence = await create_persistence("memory://")
    await suspended(persistence)

    async def fail() -> None:
        async with await persistence.approvals.claim("a", by="alice", decision="approve"):
            await persistence.aclose()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


@pytest.mark.parametrize("field", ["thread_id", "agent_name"])
async def test_none_is_no_guard(persistence: Persistence, field: str) -> None:
    await suspended(persistence)
    with pytest.raises(InvalidKeyError, match=field):
        await persistence.approvals.claim("a", by="eve", decision="approve", **{field: None})  # type: ignore[arg-type]
    with pytest.raises(InvalidKeyError, match=field):
        await persistence.approvals.list(**{field: None})  # type: ignore[arg-type]
    found = await persistence.approvals.get("a")
    assert found is not None
    assert found.status == "pending"
