"""The flaws of Agentomatic's checkpoints and of its LangGraph checkpointer that somebody reproduced.

As in `conftest`: each test runs on Limpet and on a small model of the old design, where it has to fail.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest
from limpet import NotFoundError, Persistence, create_persistence
from limpet.driver.kit import scan_all

Row = dict[str, Any]


class OldDesign:
    """SQLAlchemyStore and the checkpointer above it: select then insert, whole copies, the parent's id for its own."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.clock = 0

    async def save(self, thread: str, id: str, checkpoint: Any, metadata: Row) -> None:
        there = self.rows.get((thread, id))
        await asyncio.sleep(0)
        if there is None and (thread, id) in self.rows:
            raise sqlite3.IntegrityError("UNIQUE constraint failed")
        self.clock += 1
        written = {"id": id, "checkpoint": json.dumps(checkpoint), "metadata": metadata, "created": self.clock}
        self.rows[thread, id] = written

    async def listed(self, thread: str, *, before: str | None = None, filter: Row | None = None) -> list[str]:
        rows = sorted((row for at, row in self.rows.items() if at[0] == thread), key=lambda row: -row["created"])
        ids = [row["id"] for row in rows]
        return ids[ids.index(before) + 1 :][:1000] if before in ids else ids[:1000]

    async def latest(self, thread: str) -> str:
        return (await self.listed(thread))[0]

    async def put_next(self, thread: str, config: Row, checkpoint: Row) -> Row:
        """As a graph does: the config of the checkpoint before, and the one to store; answers the config of the new one."""
        await self.save(
            thread, config.get("checkpoint_id", ""), checkpoint, {"parent": config.get("checkpoint_id", "")}
        )
        return {"checkpoint_id": checkpoint["id"]}

    async def fetched(self, thread: str, id: str) -> tuple[Any, str | None]:
        row = self.rows.get((thread, id))
        return (None, None) if row is None else (json.loads(row["checkpoint"]), row["metadata"]["parent"])

    async def put_writes(self, thread: str, id: str, task: str, channel: str, value: Any) -> None:
        raise NotImplementedError

    async def writes(self, thread: str, id: str) -> list[Any]:
        return []

    async def delete_thread(self, thread: str) -> bool:
        """Looks for a thread first, and there is none."""
        return False

    async def stored_bytes(self) -> int:
        return sum(len(row["checkpoint"]) for row in self.rows.values())


class NewDesign:
    """The same on Limpet."""

    def __init__(self, persistence: Persistence) -> None:
        self.persistence = persistence
        self.store = persistence.checkpoints

    async def save(self, thread: str, id: str, checkpoint: Any, metadata: Row) -> None:
        await self.store.put(thread, checkpoint, id=id, metadata=metadata)

    async def listed(self, thread: str, *, before: str | None = None, filter: Row | None = None) -> list[str]:
        return [each.id async for each in self.store.list(thread, before=before, filter=filter)]

    async def latest(self, thread: str) -> str:
        found = await self.store.get(thread)
        assert found is not None
        return found.id

    async def put_next(self, thread: str, config: Row, checkpoint: Row) -> Row:
        parent = config.get("checkpoint_id")
        return {"checkpoint_id": await self.store.put(thread, checkpoint, id=checkpoint["id"], parent_id=parent)}

    async def fetched(self, thread: str, id: str) -> tuple[Any, str | None]:
        found = await self.store.get(thread, id=id)
        return (None, None) if found is None else (found.checkpoint, found.parent_id)

    async def put_writes(self, thread: str, id: str, task: str, channel: str, value: Any) -> None:
        await self.store.put_writes(thread, id, task, [(channel, value)])

    async def writes(self, thread: str, id: str) -> list[Any]:
        found = await self.store.get(thread, id=id)
        return [] if found is None else [each.value for each in found.writes]

    async def delete_thread(self, thread: str) -> bool:
        return await self.store.delete(thread)

    async def stored_bytes(self) -> int:
        return sum([len(item.value or "") async for item in scan_all(self.persistence.driver, "")])


Design = OldDesign | NewDesign
OLD = pytest.param(
    "old",
    marks=pytest.mark.xfail(
        strict=True,
        reason="the flaw of the old design",
        raises=(AssertionError, sqlite3.IntegrityError, NotImplementedError, TypeError, pytest.fail.Exception),
    ),
)


@pytest.fixture(params=["new", OLD])
async def design(request: pytest.FixtureRequest) -> AsyncIterator[Design]:
    if request.param == "old":
        yield OldDesign()
        return
    async with create_persistence("memory://") as persistence:
        yield NewDesign(persistence)


async def test_ten_first_writes_of_one_checkpoint_all_succeed(design: Design) -> None:
    await asyncio.gather(*(design.save("t", "c", {"n": n}, {}) for n in range(10)))
    assert await design.listed("t") == ["c"]


async def test_a_checkpoint_that_is_stored_again_does_not_become_the_latest(design: Design) -> None:
    for id in ("a", "b", "a"):
        await design.save("t", id, {}, {})
    assert await design.latest("t") == "b"


async def test_listing_before_one_that_is_not_there_does_not_list_all(design: Design) -> None:
    await design.save("t", "a", {}, {})
    with pytest.raises(NotFoundError):
        await design.listed("t", before="nobody")


async def test_more_than_a_thousand_are_listed(design: Design) -> None:
    for n in range(1010):
        await design.save("t", f"c{n}", {}, {})
    assert len(await design.listed("t")) == 1010


async def test_a_filter_filters(design: Design) -> None:
    for n in range(4):
        await design.save("t", f"c{n}", {}, {"odd": n % 2})
    assert await design.listed("t", filter={"odd": 1}) == ["c3", "c1"]


async def test_a_checkpoint_is_found_by_its_own_id_and_knows_its_parent(design: Design) -> None:
    config: Row = {}
    for n in range(3):
        config = await design.put_next("t", config, {"id": f"c{n}", "n": n})
    assert await design.fetched("t", "c2") == ({"id": "c2", "n": 2}, "c1")
    assert await design.fetched("t", "c0") == ({"id": "c0", "n": 0}, None)


async def test_what_a_task_wrote_is_kept(design: Design) -> None:
    await design.save("t", "c", {}, {})
    await design.put_writes("t", "c", "task", "messages", "done")
    assert await design.writes("t", "c") == ["done"]


async def test_a_thread_that_has_only_checkpoints_is_deleted(design: Design) -> None:
    await design.save("t", "c", {}, {})
    assert await design.delete_thread("t")
    assert await design.listed("t") == []


async def test_bytes_are_stored_and_come_back(design: Design) -> None:
    await design.save("t", "c", {"state": b"\0\xff" * 300}, {"parent": None})
    assert (await design.fetched("t", "c"))[0] == {"state": b"\0\xff" * 300}


async def test_two_hundred_turns_are_not_stored_two_hundred_times(design: Design) -> None:
    messages: list[Row] = []
    for turn in range(200):
        messages += [{"role": role, "content": f"{turn} {role} " * 20} for role in ("user", "assistant")]
        await design.save("t", f"c{turn}", {"messages": messages}, {})
    assert await design.stored_bytes() < 6 * len(json.dumps(messages))
