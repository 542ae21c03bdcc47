"""Feedback, on every driver."""

from __future__ import annotations

import asyncio

import pytest
from limpet import ConflictError, InvalidValueError, NotFoundError, Persistence


async def test_feedback_is_found_by_all_it_says(persistence: Persistence) -> None:
    feedback = persistence.feedback
    for n in range(2):
        await persistence.threads.create(id=f"t{n}", user_id=f"u{n}", agent_name="planner")
    message = await persistence.threads.add_message("t0", "assistant", "Vienna")
    full = await feedback.create(
        "t0",
        message_id=message.id,
        rating=2,
        comment="wrong town",
        feedback_type="correction",
        query="Where to?",
        response="Vienna",
        correction="Venice",
        metadata={"page": 3},
    )
    assert (full.user_id, full.agent_name) == ("u0", "planner")
    assert await feedback.get(full.id) == full
    ids = [full.id]
    for n in range(1, 6):
        await asyncio.sleep(0.002)
        told = await feedback.create(f"t{n % 2}", rating=n, user_id="guest" if n == 5 else None, id=f"f{n}")
        ids.insert(0, told.id)

    async def found(**filters: object) -> list[str]:
        return [each.id for each in await feedback.list(**filters)]  # type: ignore[arg-type]

    assert await found() == ids, "newest first"
    assert await found(thread_id="t0") == ["f4", "f2", full.id]
    assert await found(thread_id="t0", message_id=message.id) == [full.id]
    assert await found(message_id=message.id) == [full.id]
    assert await found(user_id="u1") == ["f3", "f1"]
    assert await found(user_id="u1", min_rating=2) == ["f3"]
    assert await found(agent_name="planner", feedback_type="correction") == [full.id]
    assert await found(rating=2) == ["f2", full.id]
    assert await found(min_rating=2, max_rating=3) == ["f3", "f2", full.id]
    assert await found(thread_id="no") == []
    page = await feedback.list(limit=2)
    assert [each.id for each in await feedback.list(limit=2, cursor=page.cursor)] == ["f3", "f2"]
    assert [each.id for each in await feedback.list(limit=2, offset=4)] == ["f1", full.id]
    assert await feedback.count() == 6
    assert await feedback.delete("f3")
    assert not await feedback.delete("f3")
    assert await feedback.get("f3") is None
    assert await feedback.count() == 5
    assert (await feedback.repair()).added == 0


async def test_what_is_no_feedback(persistence: Persistence) -> None:
    feedback = persistence.feedback
    await persistence.threads.create(id="t", user_id="u", agent_name="a")
    for rating in (0, 6, 2.5, True, "5"):
        with pytest.raises(InvalidValueError, match="rating"):
            await feedback.create("t", rating=rating)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="'no'"):
        await feedback.create("no", rating=1)
    await feedback.create("t", id="f", comment="no stars")
    with pytest.raises(ConflictError, match="the feedback 'f' already exists: choose another id"):
        await feedback.create("t", id="f")
    assert (await feedback.create("t", id="g", user_id="")).user_id == "", "a name, and not left out"
    await feedback.delete("g")
    assert await feedback.list(min_rating=1) == []
    assert await feedback.count() == 1


async def test_counts_are_exact_although_many_count_at_once(persistence: Persistence) -> None:
    await persistence.threads.create(id="t", user_id="u", agent_name="a")
    await asyncio.gather(*(persistence.feedback.create("t", rating=1 + n % 5, id=f"f{n}") for n in range(30)))
    await asyncio.gather(*(persistence.feedback.delete(f"f{n}") for n in range(0, 30, 3)))
    assert await persistence.feedback.count() == 20
    assert len(await persistence.feedback.list(thread_id="t")) == 20
    await persistence.threads.delete("t")
    assert await persistence.feedback.count() == 0


async def test_feedback_on_no_thread(persistence: Persistence) -> None:
    feedback = persistence.feedback
    await persistence.threads.create(id="t1", user_id="u1", agent_name="planner")
    on_thread = await feedback.create("t1", rating=5)
    await asyncio.sleep(0.002)
    alone = await feedback.create(None, user_id="u1", agent_name="planner", rating=4, message_id="m1", comment="slow")
    assert alone.thread_id is None
    assert await feedback.get(alone.id) == alone
    assert await feedback.exists(alone.id)
    assert list(await feedback.list(agent_name="planner")) == [alone, on_thread]
    assert list(await feedback.list(message_id="m1")) == [alone]
    assert list(await feedback.list(thread_id="t1")) == [on_thread]
    await persistence.threads.delete("t1")
    assert list(await feedback.list()) == [alone]
    assert await feedback.count() == 1
    nobody = await feedback.create(None)
    assert (nobody.user_id, nobody.agent_name) == ("", "")
    assert await feedback.delete(alone.id)
    assert await feedback.delete(nobody.id)
    assert await feedback.count() == 0
