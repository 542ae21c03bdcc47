"""Checkpoints beside others: who deletes, prunes and copies while somebody puts, or remembers what is no longer so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from limpet import ConflictError, CorruptDataError, NotFoundError, Persistence
from limpet.driver import Delete, Driver, Item, Key
from limpet.driver.kit import scan_all
from limpet.stores import CheckpointStore
from limpet.stores.checkpoints import _copy

LONG = "x" * 1000


async def left(persistence: Persistence) -> list[Key]:
    """What lies below any thread's number."""
    return [item.key async for item in scan_all(persistence.driver, "checkpoints", values=False)]


@pytest.fixture
def freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpet.stores.checkpoints._prune._GRACE_MS", -60_000)


async def test_who_remembers_a_deleted_thread_writes_to_the_new_one(persistence: Persistence) -> None:
    ours, theirs = persistence.checkpoints, CheckpointStore(persistence.driver)
    await ours.put("t", {"long": LONG}, id="c0")
    assert await theirs.delete("t")
    await ours.put("t", {"long": LONG}, id="c1")
    assert await persistence.collect_garbage() > 0
    found = await theirs.get("t")
    assert found is not None
    assert (found.id, found.checkpoint) == ("c1", {"long": LONG})
    assert await theirs.delete("t")
    await persistence.collect_garbage()
    await theirs.put("t", {}, id="c1")
    await ours.put_writes("t", "c1", "task", [("n", 1)])
    again = await ours.get("t")
    assert again is not None
    assert [each.value for each in again.writes] == [1]


@pytest.mark.usefixtures("freed_at_once")
async def test_who_remembers_a_part_that_was_freed_stores_it_again(persistence: Persistence) -> None:
    ours, theirs = persistence.checkpoints, CheckpointStore(persistence.driver)
    await ours.put("t", {"long": LONG}, id="c0")
    await ours.put("t", {"n": 1}, id="c1")
    before = len(await left(persistence))
    assert await theirs.prune("t", max_count=1) == 1
    assert len(await left(persistence)) == before - 3, "a checkpoint, the position of its id, and a part"
    await ours.put("t", {"long": LONG}, id="c2")
    found = await theirs.get("t")
    assert found is not None
    assert found.checkpoint == {"long": LONG}


async def test_what_is_put_beside_deletions_is_there_or_was_deleted_and_nothing_is_left(
    persistence: Persistence,
) -> None:
    stores = [CheckpointStore(persistence.driver) for _ in range(3)]

    async def put(n: int) -> None:
        for step in range(4):
            await stores[n].put("t", {"step": step, "long": LONG, "own": f"{n}" * 300}, id=f"{n}-{step}")
            found = await stores[n].get("t", id=f"{n}-{step}")
            assert found is None or found.checkpoint["long"] == LONG

    async def delete() -> None:
        for _ in range(4):
            await persistence.checkpoints.delete("t")
            await persistence.collect_garbage()

    await asyncio.gather(*(put(n) for n in range(3)), delete())
    for n in range(3):
        await stores[n].put("t", {"long": LONG}, id=f"{n}-last")
    await persistence.collect_garbage()
    listed = {each.id for each in await persistence.checkpoints.list("t")}
    assert {"0-last", "1-last", "2-last"} <= listed
    await persistence.checkpoints.delete("t")
    await persistence.collect_garbage()
    assert await left(persistence) == []


@pytest.mark.usefixtures("freed_at_once")
async def test_what_is_put_beside_pruning_is_whole(persistence: Persistence) -> None:
    # Nothing is spared for being fresh here: what keeps the parts is the pruning that is announced.
    ours, theirs = persistence.checkpoints, CheckpointStore(persistence.driver)
    for step in range(6):
        await ours.put("t", {"step": step, "long": LONG * (step % 2)}, id=f"c{step}")
        if step % 2:
            assert await theirs.prune("t", max_count=1) == (1 if step == 1 else 2)
        latest = await theirs.get("t")
        assert latest is not None
        assert latest.checkpoint == {"step": step, "long": LONG * (step % 2)}


async def test_pruned_put_and_read_at_once(persistence: Persistence) -> None:
    ours, theirs = persistence.checkpoints, CheckpointStore(persistence.driver)
    await ours.put("t", {"long": LONG}, id="first")

    async def put() -> None:
        for step in range(8):
            await ours.put("t", {"step": step, "long": LONG, "own": f"{step}" * 300}, id=f"c{step}")

    async def prune() -> None:
        for _ in range(4):
            await theirs.prune("t", max_count=1)

    async def read() -> None:
        for _ in range(8):
            latest = await theirs.get("t")
            assert latest is not None
            assert latest.checkpoint["long"] == LONG

    await asyncio.gather(put(), prune(), read())
    await theirs.prune("t", max_count=1)
    assert [each.id for each in await ours.list("t")] == ["c7"]


async def test_a_copy_beside_puts_and_pruning_is_whole(persistence: Persistence) -> None:
    ours, theirs = persistence.checkpoints, CheckpointStore(persistence.driver)
    for step in range(5):
        await ours.put("t", {"step": step, "long": LONG}, id=f"c{step}")

    async def put() -> None:
        for step in range(5, 10):
            await ours.put("t", {"step": step, "long": LONG}, id=f"c{step}")

    await asyncio.gather(put(), theirs.copy("t", "u"), theirs.prune("t", max_count=2))
    listed = await ours.list("u")
    latest = await ours.get("u")
    assert latest is not None
    assert latest.id == listed[0].id
    await ours.put("u", {"step": "next"}, id="next")
    assert [each.id for each in await ours.list("u")] == ["next", *(each.id for each in listed)]


async def test_what_a_copy_that_died_left_shows_nothing_and_is_freed(
    persistence: Persistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    await persistence.checkpoints.put("t", {"long": LONG}, id="c0")
    before = len(await left(persistence))
    dies = CheckpointStore(persistence.driver)
    monkeypatch.setattr("limpet.stores.checkpoints._copy.AT_ONCE", 1)
    whole = _copy.snapshot

    async def cut_off(driver: Driver, base: Key) -> AsyncIterator[Item]:
        seen = 0
        async for item in whole(driver, base):
            if (seen := seen + 1) == 4:
                raise ConnectionError("the copier died here")
            yield item

    monkeypatch.setattr(_copy, "snapshot", cut_off)
    for target in ("u", "v"):
        with pytest.raises(ConnectionError):
            await dies.copy("t", target)
        assert await persistence.checkpoints.get(target) is None
        assert await persistence.checkpoints.namespaces(target) == []
        assert await persistence.checkpoints.prune(target, max_count=1) == 0
        with pytest.raises(NotFoundError):
            await persistence.checkpoints.copy(target, "w")
    monkeypatch.setattr(_copy, "snapshot", whole)
    assert len(await left(persistence)) > before
    await persistence.checkpoints.put("u", {}, id="own")
    assert [each.id for each in await persistence.checkpoints.list("u")] == ["own"]
    assert not await persistence.checkpoints.delete("v"), "there was nothing to see"
    assert await persistence.checkpoints.copy("t", "v") == before
    with pytest.raises(ConflictError, match="'u'"):
        await persistence.checkpoints.copy("t", "u")
    await persistence.collect_garbage()
    for thread in ("t", "u", "v"):
        assert await persistence.checkpoints.delete(thread)
    await persistence.collect_garbage()
    assert await left(persistence) == []


async def test_a_damaged_thread_is_an_error(persistence: Persistence) -> None:
    await persistence.checkpoints.put("t", {"long": LONG}, id="c0")
    await persistence.checkpoints.put("t", {"long": LONG, "n": 1}, id="c1")
    (part,) = [at for at in await left(persistence) if "!p!" in at]
    await persistence.driver.apply([Delete(part)])
    for id in (None, "c0", "c1"):
        with pytest.raises(CorruptDataError, match="missing"):
            await persistence.checkpoints.get("t", id=id)
    with pytest.raises(CorruptDataError, match="missing"):
        await persistence.checkpoints.list("t")
