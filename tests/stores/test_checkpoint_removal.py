"""Checkpoints are deleted by their ids and runs, and pruned but for those that somebody keeps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from limpet import CorruptDataError, InvalidKeyError, NotFoundError, Persistence
from limpet.driver import Put
from limpet.driver.kit import scan_all
from limpet.stores import CheckpointStore

LONG = "x" * 1000


def uuid(n: int) -> str:
    return f"019b0000-{n:04x}-7000-8000-000000000000"


def plain(n: int) -> str:
    return f"c{n}"


async def ids(persistence: Persistence, thread: str = "t", **where: Any) -> list[str]:
    return [each.id for each in await persistence.checkpoints.list(thread, **where)]


async def left(persistence: Persistence) -> list[str]:
    return [item.key async for item in scan_all(persistence.driver, "checkpoints", values=False)]


@pytest.fixture
def freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpet.stores.checkpoints._prune._GRACE_MS", -60_000)


@pytest.mark.usefixtures("freed_at_once")
@pytest.mark.parametrize("named", [plain, uuid])
async def test_some_are_deleted_by_id(named: Any, persistence: Persistence) -> None:
    checkpoints, theirs = persistence.checkpoints, CheckpointStore(persistence.driver)
    for n in range(5):
        for namespace in ("", "child"):
            await checkpoints.put("t", {"own": f"{n}{LONG}", "all": LONG}, id=named(n), namespace=namespace)
            await checkpoints.put_writes("t", named(n), "task", [("c", f"{n}write{LONG}")], namespace=namespace)
    await theirs.get("t", id=named(1))
    assert await checkpoints.delete("t", ids=[named(1), named(4), named(1), "nobody"])
    assert not await checkpoints.delete("t", ids=[named(1), named(4)])
    assert not await checkpoints.delete("nobody", ids=[named(1)])
    assert not await checkpoints.delete("t", ids=[])
    assert await ids(persistence) == [named(3), named(2), named(0)]
    assert await ids(persistence, namespace="child") == [named(n) for n in (4, 3, 2, 1, 0)]
    for store in (checkpoints, theirs):
        assert await store.get("t", id=named(1)) is None
        assert not await store.exists("t", id=named(1))
    with pytest.raises(InvalidKeyError, match="ids takes strings"):
        await checkpoints.delete("t", ids=[1])  # type: ignore[list-item]
    await theirs.put("t", {"own": f"1{LONG}"}, id=named(1))
    await theirs.put_writes("t", named(1), "task", [("c", "new")])
    found = await checkpoints.get("t", id=named(1))
    assert found is not None
    assert (found.checkpoint, [each.value for each in found.writes]) == ({"own": f"1{LONG}"}, ["new"])
    assert await ids(persistence) == [named(n) for n in ((1, 3, 2, 0) if named is plain else (3, 2, 1, 0))]
    assert await checkpoints.delete("t", ids=[named(n) for n in range(5)])
    assert await checkpoints.delete("t", ids=[named(n) for n in range(5)], namespace="child")
    await checkpoints.prune("t", max_count=1)
    assert not [at for at in await left(persistence) if at.split("!")[2] in "dip"]


@pytest.mark.parametrize("named", [plain, uuid])
async def test_checkpoints_of_runs_are_deleted_everywhere(named: Any, persistence: Persistence) -> None:
    checkpoints = persistence.checkpoints
    others = [CheckpointStore(persistence.driver) for _ in range(2)]
    for thread in ("t", "u"):
        for n in range(9):
            for namespace in ("", "child"):
                store = others[n % 2]
                metadata = {"run_id": f"run {n // 3}", "step": n} if n < 8 else {"run_id": 2}
                await store.put(thread, {"n": LONG}, id=named(n), namespace=namespace, metadata=metadata)
                await store.put_writes(thread, named(n), "task", [("c", n)], namespace=namespace)
    await checkpoints.copy("u", "copy")
    await checkpoints.delete("u")
    assert await checkpoints.delete_for_runs(["run 1", "nobody", "run 1"]) == 12
    assert await checkpoints.delete_for_runs(["run 1"]) == 0
    assert await checkpoints.delete_for_runs([]) == 0
    for thread in ("t", "copy"):
        for namespace in ("", "child"):
            assert await ids(persistence, thread, namespace=namespace) == [named(n) for n in (8, 7, 6, 2, 1, 0)]
    await others[0].put("t", {}, id=named(4), metadata={"run_id": "run 1"})
    assert await checkpoints.delete_for_runs(["run 1", "run 2"]) == 9
    assert await ids(persistence) == [named(n) for n in (8, 2, 1, 0)]
    with pytest.raises(InvalidKeyError, match="run_ids takes strings"):
        await checkpoints.delete_for_runs([1])  # type: ignore[list-item]


async def test_a_run_whose_ids_come_out_of_order_is_deleted_whole(persistence: Persistence) -> None:
    for n in (5, 3, 8, 1):
        await CheckpointStore(persistence.driver).put("t", {}, id=uuid(n), metadata={"run_id": "r"})
    assert await persistence.checkpoints.delete_for_runs(["r"]) == 4


@pytest.mark.usefixtures("freed_at_once")
async def test_pruning_keeps_what_somebody_needs(persistence: Persistence) -> None:
    checkpoints = persistence.checkpoints
    for n in range(60):
        for namespace in ("", "n" * 300):
            await checkpoints.put("t", {"own": f"{n}{LONG}"}, id=f"c{n}", namespace=namespace, metadata={"n": n})
        await checkpoints.put_writes("t", f"c{n}", "task", [("c", f"{n}{LONG}")])
    seen: list[tuple[str, int, int]] = []

    def keep(record: Any) -> bool:
        assert record.checkpoint == {"own": f"{record.metadata['n']}{LONG}"}
        seen.append((record.namespace, record.metadata["n"], len(record.writes)))
        return bool(record.metadata["n"] % 20 == 7)

    assert await checkpoints.prune("t", max_count=2, keep=keep) == 2 * (58 - 3)
    assert sorted(seen) == [("", n, 1) for n in range(58)] + [("n" * 300, n, 0) for n in range(58)]
    for namespace in ("", "n" * 300):
        assert await ids(persistence, namespace=namespace) == [f"c{n}" for n in (59, 58, 47, 27, 7)]
    for each in await checkpoints.list("t"):
        assert [write.value for write in each.writes] == [each.checkpoint["own"]]
    with pytest.raises(ZeroDivisionError):
        await checkpoints.prune("t", max_count=1, keep=lambda record: bool(1 // 0))
    assert len(await ids(persistence)) == 5


@pytest.mark.usefixtures("freed_at_once")
async def test_what_others_have_read_is_whole_beside_every_removal(persistence: Persistence) -> None:
    # Nothing is spared for being fresh here: each process relies on parts that it has only read.
    stores = [CheckpointStore(persistence.driver) for _ in range(4)]
    messages = [f"{n}{LONG}" for n in range(30)]
    await stores[0].put("t", {"messages": messages}, id="first")

    async def put(n: int) -> None:
        for step in range(6):
            latest = await stores[n].get("t")
            assert latest is not None
            known = latest.checkpoint["messages"]
            await stores[n].put("t", {"messages": [*known[-25:], f"{n}-{step}{LONG}"]}, id=f"{n}-{step}")
            await stores[n].put_writes("t", f"{n}-{step}", "task", [("messages", known)])
            await stores[n].put("t", {"messages": known}, id="again")

    async def remove() -> None:
        for step in range(8):
            await stores[3].prune("t", max_count=3)
            await stores[3].delete("t", ids=["again", f"0-{step}"])
            await asyncio.sleep(0)

    await asyncio.gather(*(put(n) for n in range(3)), remove())
    found = await persistence.checkpoints.list("t")
    assert found
    assert all(LONG in each for record in found for each in record.checkpoint["messages"])


async def test_what_is_damaged_is_passed_or_removed(persistence: Persistence) -> None:
    checkpoints = persistence.checkpoints
    for n in range(4):
        await checkpoints.put("t", {"n": LONG}, id=uuid(n), metadata={"run_id": "r"})
    bad = next(at for at in await left(persistence) if "!d!" in at)
    await persistence.driver.apply([Put(bad, '{"id":5,"node":{"p":["x"]},"run":"r"}')])
    with pytest.raises(CorruptDataError):
        await checkpoints.get("t", id=uuid(0))
    assert await checkpoints.prune("t", max_count=2, keep=lambda record: True) == 1
    await persistence.driver.apply([Put("checkpoints.threads!@broken", "what?")])
    assert await checkpoints.delete_for_runs(["r"]) == 3
    with pytest.raises(CorruptDataError):
        await checkpoints.threads()
    with pytest.raises(CorruptDataError):
        await checkpoints.put("broken", {})
    with pytest.raises(NotFoundError):
        await checkpoints.history("t", id=uuid(0))
