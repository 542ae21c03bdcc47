"""Checkpoints: found by id or as the latest, in the order of putting; equal parts stored once."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta
from typing import Any

import pytest
from limpet import ConfigurationError, ConflictError, InvalidValueError, NotFoundError, Persistence
from limpet.driver.kit import scan_all


async def ids(persistence: Persistence, thread: str = "t", **where: Any) -> list[str]:
    return [each.id for each in await persistence.checkpoints.list(thread, **where)]


async def stored_bytes(persistence: Persistence) -> int:
    return sum([len(item.key) + len(item.value or "") async for item in scan_all(persistence.driver, "")])


async def test_what_goes_in_comes_out(persistence: Persistence) -> None:
    checkpoint = {
        "v": 4,
        "channel_values": {
            "messages": [{"type": "human", "content": "x" * n} for n in range(40)],
            "blob": os.urandom(5000),
            "short": b"\0\xff",
            "typed": ["msgpack", os.urandom(600)],
            "empty": [],
            "none": None,
            "deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": ["y" * 300, b"z" * 300]}}}}}}},
        },
        "versions_seen": {},
    }
    put = await persistence.checkpoints.put(
        "t", checkpoint, namespace="n", id="c1", parent_id="c0", metadata={"step": 3, "source": "loop" * 100}
    )
    assert put == "c1"
    found = await persistence.checkpoints.get("t", namespace="n", id="c1")
    assert found is not None
    assert found.checkpoint == checkpoint
    assert found.metadata == {"step": 3, "source": "loop" * 100}
    assert (found.thread_id, found.namespace, found.id, found.parent_id) == ("t", "n", "c1", "c0")
    assert await persistence.checkpoints.get("t", id="c1") is None, "another namespace"
    assert await persistence.checkpoints.get("u") is None
    assert await persistence.checkpoints.namespaces("t") == ["n"]
    endless: list[Any] = []
    endless.append(endless)
    for wrong in ({1: 2}, {"a": object()}, {"a": [{1: 2}] * 20}, endless):
        with pytest.raises(InvalidValueError):
            await persistence.checkpoints.put("t", wrong)


async def test_the_latest_is_the_one_whose_id_came_last(persistence: Persistence) -> None:
    for n in range(3):
        await persistence.checkpoints.put("t", {"n": n}, id=f"c{n}")
    await persistence.checkpoints.put("t", {"n": "again"}, id="c0")
    latest = await persistence.checkpoints.get("t")
    assert latest is not None
    assert latest.id == "c2"
    first = await persistence.checkpoints.get("t", id="c0")
    assert first is not None
    assert first.checkpoint == {"n": "again"}
    assert await ids(persistence) == ["c2", "c1", "c0"]


async def test_metadata_is_a_mapping_also_where_none_was_given(persistence: Persistence) -> None:
    await persistence.checkpoints.put("t", {"n": 1})
    found = await persistence.checkpoints.get("t")
    assert found is not None
    assert found.metadata.get("step") is None


async def test_lists_by_pages_before_one_and_by_metadata(persistence: Persistence) -> None:
    for n in range(7):
        await persistence.checkpoints.put("t", {"n": n}, id=f"c{n}", metadata={"odd": n % 2, "step": n})
    page = await persistence.checkpoints.list("t", limit=3)
    assert [each.id for each in page] == ["c6", "c5", "c4"]
    assert await ids(persistence, limit=3, cursor=page.cursor) == ["c3", "c2", "c1"]
    assert await ids(persistence, before="c4") == ["c3", "c2", "c1", "c0"]
    assert await ids(persistence, before="c4", limit=2) == ["c3", "c2"]
    assert await ids(persistence, filter={"odd": 1}) == ["c5", "c3", "c1"]
    assert await ids(persistence, filter={"odd": 1, "step": 3}) == ["c3"]
    assert await ids(persistence, filter={"no": 1}) == []
    with pytest.raises(NotFoundError, match="nobody"):
        await persistence.checkpoints.list("t", before="nobody")


async def test_ten_at_once_all_succeed(persistence: Persistence) -> None:
    await asyncio.gather(*(persistence.checkpoints.put("t", {"n": n}, id="same") for n in range(10)))
    assert await ids(persistence) == ["same"]
    await asyncio.gather(*(persistence.checkpoints.put("t", {"n": n}, id=f"c{n}") for n in range(10)))
    assert set(await ids(persistence)) == {"same", *(f"c{n}" for n in range(10))}


async def test_pending_writes_stay_as_they_were_first(persistence: Persistence) -> None:
    await persistence.checkpoints.put("t", {}, id="c")
    long = os.urandom(900)
    await persistence.checkpoints.put_writes("t", "c", "task1", [("messages", {"a": "x" * 500}), ("raw", long)])
    await persistence.checkpoints.put_writes("t", "c", "task1", [("messages", "changed"), ("raw", b"")])
    await persistence.checkpoints.put_writes("t", "c", "task0", [("n", 1)])
    await persistence.checkpoints.put_writes("t", "c", "task0", [("n", 2)], replace=True)
    await persistence.checkpoints.put_writes("t", "another", "task0", [("n", 9)])
    found = await persistence.checkpoints.get("t", id="c")
    assert found is not None
    pending = {(each.task_id, each.index): (each.channel, each.value) for each in found.writes}
    assert pending == {
        ("task0", 0): ("n", 2),
        ("task1", 0): ("messages", {"a": "x" * 500}),
        ("task1", 1): ("raw", long),
    }


async def test_two_hundred_turns_cost_a_few_times_their_text(persistence: Persistence) -> None:
    messages: list[dict[str, str]] = []
    for turn in range(200):
        for role in ("user", "assistant"):
            messages.append({"role": role, "content": f"{turn} {role} " + os.urandom(300).hex()})
        checkpoint = {"channel_values": {"messages": messages, "plan": "p" * 5000}, "step": turn}
        await persistence.checkpoints.put("t", checkpoint, metadata={"step": turn})
    text = len(json.dumps(messages))
    assert await stored_bytes(persistence) < 5 * text, "whole copies would be a hundred times the text"
    latest = await persistence.checkpoints.get("t")
    assert latest is not None
    assert latest.checkpoint["channel_values"]["messages"] == messages


async def test_a_thread_is_deleted_at_once_and_made_anew(persistence: Persistence) -> None:
    for n in range(5):
        await persistence.checkpoints.put("t", {"n": n, "long": "x" * 1000}, id=f"c{n}")
    await persistence.checkpoints.put("u", {"n": 0}, id="other")
    assert await persistence.checkpoints.delete("t")
    assert not await persistence.checkpoints.delete("t")
    assert await persistence.checkpoints.get("t") is None
    assert await ids(persistence) == []
    await persistence.checkpoints.put("t", {"n": "new", "long": "x" * 1000}, id="c0")
    assert await ids(persistence) == ["c0"]
    found = await persistence.checkpoints.get("t")
    assert found is not None
    assert found.checkpoint["long"] == "x" * 1000
    await persistence.collect_garbage()
    assert await ids(persistence, "u") == ["other"]
    assert await persistence.checkpoints.get("t") is not None


async def test_a_copy_is_whole_and_its_own(persistence: Persistence) -> None:
    for n in range(3):
        await persistence.checkpoints.put("t", {"n": n, "long": "x" * 1000}, id=f"c{n}", namespace="a")
    await persistence.checkpoints.put_writes("t", "c2", "task", [("n", 1)], namespace="a")
    assert await persistence.checkpoints.copy("t", "u") > 3
    with pytest.raises(ConflictError, match="'u'"):
        await persistence.checkpoints.copy("t", "u")
    with pytest.raises(NotFoundError):
        await persistence.checkpoints.copy("nobody", "v")
    await persistence.checkpoints.delete("t")
    assert await ids(persistence, "u", namespace="a") == ["c2", "c1", "c0"]
    latest = await persistence.checkpoints.get("u", namespace="a")
    assert latest is not None
    assert latest.checkpoint == {"n": 2, "long": "x" * 1000}
    assert [each.value for each in latest.writes] == [1]


async def test_pruning_keeps_the_last_and_what_they_need(persistence: Persistence) -> None:
    shared = "s" * 1000
    for n in range(6):
        await persistence.checkpoints.put("t", {"n": n, "shared": shared, "own": f"{n}" * 1000}, id=f"c{n}")
    assert await persistence.checkpoints.prune("t", max_count=2) == 4
    assert await ids(persistence) == ["c5", "c4"]
    for each in await persistence.checkpoints.list("t"):
        assert each.checkpoint["shared"] == shared
    assert await persistence.checkpoints.prune("t", max_age=timedelta(hours=1)) == 0
    await asyncio.sleep(0.02)
    assert await persistence.checkpoints.prune("t", max_age=timedelta(milliseconds=1)) == 1
    assert await ids(persistence) == ["c5"], "the latest is always kept"
    with pytest.raises(ConfigurationError, match="max_count"):
        await persistence.checkpoints.prune("t")
    assert await persistence.checkpoints.prune("nobody", max_count=1) == 0


async def test_they_go_with_their_thread(persistence: Persistence) -> None:
    thread = await persistence.threads.create(user_id="u", agent_name="g")
    await persistence.checkpoints.put(thread.id, {"n": 1})
    assert await persistence.threads.delete(thread.id)
    assert await persistence.checkpoints.get(thread.id) is None
