"""Policies for checkpoints: each thread is pruned, and threads that nobody uses are deleted, unless somebody comes back."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from limpet import NotFoundError, Persistence
from limpet.driver.kit import scan_all
from limpet.stores import CheckpointStore, Retention, RetentionPolicies
from limpet.stores.checkpoints import _retention

AGE = timedelta(seconds=0.5)


async def grow_old() -> None:
    await asyncio.sleep(AGE.total_seconds() + 0.1)


async def ids(persistence: Persistence, thread: str = "t") -> list[str]:
    return [each.id for each in await persistence.checkpoints.list(thread)]


async def test_each_thread_is_pruned(persistence: Persistence) -> None:
    for thread in ("t", "u"):
        for n in range(5):
            await persistence.checkpoints.put(thread, {"n": n}, id=f"c{n}")
    report = await persistence.prune(RetentionPolicies(checkpoints=Retention(max_count=3)))
    assert report.checkpoints == 4
    assert await ids(persistence) == await ids(persistence, "u") == ["c4", "c3", "c2"]
    await grow_old()
    await persistence.checkpoints.put("u", {}, id="new")
    report = await persistence.prune(RetentionPolicies(checkpoints=Retention(max_age=AGE)))
    assert report.checkpoints == 5
    assert (await ids(persistence), await ids(persistence, "u")) == (["c4"], ["new"])
    assert (await persistence.prune(RetentionPolicies(checkpoints=Retention(max_age=AGE)))).checkpoints == 0


async def test_idle_threads_are_deleted_by_age_and_by_count(persistence: Persistence) -> None:
    for thread in ("idle", "written", "used", "again"):
        await persistence.checkpoints.put(thread, {}, id="a")
        await persistence.checkpoints.put(thread, {}, id="b")
    await grow_old()
    await persistence.checkpoints.put_writes("written", "b", "task", [("c", 1)])
    await asyncio.sleep(0.01)
    await persistence.checkpoints.put("again", {}, id="a")
    await asyncio.sleep(0.01)
    await persistence.checkpoints.put("used", {}, id="c")
    idle = RetentionPolicies(checkpoint_threads=Retention(max_age=AGE))
    assert (await persistence.prune(idle)).checkpoint_threads == 1
    assert sorted(await persistence.checkpoints.threads()) == ["again", "used", "written"]
    assert (await persistence.prune(idle)).checkpoint_threads == 0
    with pytest.raises(NotFoundError):
        await persistence.checkpoints.put("idle", {}, id="late", parent_id="b")
    few = RetentionPolicies(checkpoint_threads=Retention(max_count=1))
    assert (await persistence.prune(few)).checkpoint_threads == 2
    assert await persistence.checkpoints.threads() == ["used"]
    assert await ids(persistence, "used") == ["c", "b", "a"]
    await persistence.collect_garbage()
    below = {item.key.split("!")[1] async for item in scan_all(persistence.driver, "checkpoints", values=False)}
    assert len(below) == 1


@pytest.mark.parametrize("call", ["put", "put with a parent", "put again", "writes", "writes first"])
async def test_who_comes_back_while_it_is_decided_keeps_the_thread(
    call: str, persistence: Persistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = persistence.checkpoints, CheckpointStore(persistence.driver)
    await ours.put("t", {"n": 0}, id="a")
    await theirs.get("t")
    await grow_old()
    whole, looks = _retention._last_used, 0

    async def comes_back(*args: object) -> int:
        nonlocal looks
        looks += 1
        moment = await whole(*args)  # type: ignore[arg-type]
        if looks == 2:  # it was announced, and looked at for the last time
            assert await ids(persistence) == ["a"], "it is there until it is deleted"
            if call == "put":
                await ours.put("t", {"n": 1}, id="b")
            elif call == "put with a parent":
                await theirs.put("t", {"n": 1}, id="b", parent_id="a")
            elif call == "put again":
                await ours.put("t", {"n": 1}, id="a")
            else:
                await ours.put_writes("t", "a" if call == "writes" else "b", "task", [("c", 1)])
        return moment

    monkeypatch.setattr(_retention, "_last_used", comes_back)
    report = await persistence.prune(RetentionPolicies(checkpoint_threads=Retention(max_age=AGE)))
    assert (report.checkpoint_threads, looks) == (0, 2)
    monkeypatch.undo()
    assert await ids(persistence) == (["b", "a"] if call in ("put", "put with a parent") else ["a"])
    await ours.put("t", {"n": 2}, id="c", parent_id="a")
    latest = await theirs.get("t")
    assert latest is not None
    assert latest.id == "c"
    assert await persistence.checkpoints.delete("t")
