"""What checkpoints and blobs cost is counted: the same among few and among many, and never more than a few chunks at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from limpet import Persistence, create_persistence
from limpet.driver import Append, Put
from limpet.opening import driver_from_url
from limpet_conformance.faults import Counts, counted
from limpet_conformance.faults._seam import injected

FEW, MANY = 60, 1_000
TURN = {"channel_values": {"messages": [{"role": "user", "content": "x" * 300}] * 20, "plan": "p" * 1000}}
MIB = 1024 * 1024


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Persistence, Counts]]:
    async with driver_from_url(url) as driver, create_persistence(driver) as persistence:
        with counted(driver) as counts:
            yield persistence, counts


def calls(grown: dict[str, int]) -> tuple[int, int, int]:
    return grown["commits"], grown["fetches"], grown["lists"]


async def _measured(persistence: Persistence, counts: Counts, size: int) -> dict[str, dict[str, int]]:
    checkpoints = persistence.checkpoints
    for n in range(size):
        await checkpoints.put("t", {**TURN, "step": n}, metadata={"step": n})
    grown: dict[str, dict[str, int]] = {}
    with counts.growing() as grown["put"]:
        await checkpoints.put("t", {**TURN, "step": size}, id="last")
    with counts.growing() as grown["put again"]:
        await checkpoints.put("t", {**TURN, "step": size}, id="last")
    with counts.growing() as grown["put_writes"]:
        await checkpoints.put_writes("t", "last", "task", [("a", 1), ("b", 2)])
    with counts.growing() as grown["get"]:
        assert (await checkpoints.get("t")) is not None
    with counts.growing() as grown["get by id"]:
        assert (await checkpoints.get("t", id="last")) is not None
    with counts.growing() as grown["list"]:
        assert len(await checkpoints.list("t", limit=5)) == 5
    with counts.growing() as grown["a longer list"]:
        assert len(await checkpoints.list("t", limit=15)) == min(15, size + 1)
    with counts.growing() as grown["list from the middle"]:
        assert len(await checkpoints.list("t", limit=5, before="last")) == 5
    with counts.growing() as grown["delete"]:
        assert await checkpoints.delete("t")
    return grown


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_the_same_calls_among_few_and_among_many(scheme: str, tmp_path: Any) -> None:
    measured = []
    for size in (FEW, MANY):
        place = "memory://" if scheme == "memory" else f"sqlite:///{tmp_path.as_posix()}/{size}.db?durability=relaxed"
        async with opened(place) as (persistence, counts):
            measured.append(await _measured(persistence, counts, size))
    assert measured[0] == measured[1]


async def test_the_calls_of_checkpoints(url: str) -> None:
    async with opened(url) as (persistence, counts):
        grown = await _measured(persistence, counts, 6)
    assert calls(grown["put"]) == (1, 0, 0), "a step is one call, the thread known"
    assert calls(grown["put again"]) in {(2, 0, 0), (2, 1, 0)}, "the guess that it is new is refused once"
    assert calls(grown["put_writes"]) == (1, 0, 0)
    assert calls(grown["get"]) == (0, 1, 1), "the latest with its pending writes, then the thread with all parts"
    assert calls(grown["get by id"]) == (0, 1, 1)
    assert calls(grown["list"]) == calls(grown["a longer list"]) == (0, 1, 1), "a page, whatever its length"
    assert calls(grown["delete"]) == (1, 1, 0)


async def test_the_calls_of_a_graph(url: str) -> None:
    def step(n: int) -> str:
        return f"019b0000-{n:04x}-7000-8000-000000000000"

    messages = [{"role": "user", "content": f"{n}" + "x" * 300} for n in range(100)]
    async with opened(url) as (persistence, counts):
        checkpoints, grown = persistence.checkpoints, dict[str, dict[str, int]]()
        for n in range(40):
            channels: dict[str, Any] = {"messages": messages[: 60 + n], "plan": "p" * 1000}
            with counts.growing() as grown["put"]:
                await checkpoints.put(
                    "t",
                    {"v": 4},
                    id=step(n),
                    parent_id=step(n - 1) if n else None,
                    metadata={"run_id": "run"},
                    channels=channels,
                    versions={"messages": n, "plan": 1},
                )
            with counts.growing() as grown["put_writes"]:
                await checkpoints.put_writes("t", step(n), "task", [("messages", messages[60 + n]), (-1, "error", n)])
        with counts.growing() as grown["put_writes again"]:
            await checkpoints.put_writes("t", step(39), "task", [("messages", messages[99])])
        with counts.growing() as grown["writes before their checkpoint"]:
            await checkpoints.put_writes("t", step(40), "task", [("messages", messages[99])])
        with counts.growing() as grown["get"]:
            assert (await checkpoints.get("t")) is not None
        with counts.growing() as grown["get by id"]:
            assert (await checkpoints.get("t", id=step(7))) is not None
        with counts.growing() as grown["a page"]:
            assert len(await checkpoints.list("t", limit=40)) == 40
        with counts.growing() as grown["history"]:
            assert len(await checkpoints.history("t", limit=40)) == 40
        with counts.growing() as grown["threads"]:
            assert len(await checkpoints.threads()) == 1
        with counts.growing() as grown["delete some"]:
            assert await checkpoints.delete("t", ids=[step(3)])
        with counts.growing() as grown["get of a thread that has changed"]:
            assert (await checkpoints.get("t")) is not None
    assert calls(grown["put"]) == calls(grown["put_writes"]) == (1, 0, 0)
    assert calls(grown["writes before their checkpoint"]) == (1, 0, 0)
    assert calls(grown["put_writes again"]) in {(1, 0, 0), (1, 1, 0)}, "what was there is in the conflict, or read"
    for call in ("get", "get by id", "a page", "history", "get of a thread that has changed"):
        assert calls(grown[call]) == (0, 1, 1), call
    assert calls(grown["threads"]) == (0, 0, 1)
    assert calls(grown["delete some"]) == (1, 2, 1), "the thread and the checkpoint, its writes, and all in one batch"


async def test_a_blob_of_40_mb_is_a_few_chunks_at_a_time() -> None:
    most = 0

    def commits(call: Any) -> Any:
        async def instead(work: Any) -> Any:
            nonlocal most
            puts = [write for unit in work for write in (unit.puts if isinstance(unit, Append) else unit)]
            most = max(most, sum(len(write.value) for write in puts if isinstance(write, Put)))
            return await call(work)

        return instead

    def fetches(call: Any) -> Any:
        async def instead(keys: Any, values: bool) -> Any:
            nonlocal most
            items = await call(keys, values)
            most = max(most, sum(len(item.value) for item in items if item is not None and item.value is not None))
            return items

        return instead

    taken = given = 0

    def source() -> Iterator[bytes]:
        nonlocal given
        for n in range(40):
            given += MIB
            assert given - stored() <= 4 * MIB, "no more is taken from its source than a few chunks ahead"
            yield bytes([n]) * MIB

    def stored() -> int:
        return counts.units * MIB // 2

    async with driver_from_url("memory://") as driver, create_persistence(driver) as persistence:
        with counted(driver) as counts, injected(driver, "_commit", commits), injected(driver, "_fetch", fetches):
            blob = await persistence.blobs.create(source())
            assert blob.size == 40 * MIB
            async for piece in persistence.blobs.read(blob.id):
                taken += len(piece)
                assert len(piece) <= MIB // 2
    assert taken == 40 * MIB
    assert 0 < most <= 2 * MIB + 8192, "bytes in one call of the driver"
