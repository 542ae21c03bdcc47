"""Checkpoints as a graph's saver needs them: ordered ids, channels with versions, numbered writes, late writes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from limpet import InvalidValueError, NotFoundError, Persistence
from limpet.driver.kit import scan_all
from limpet.stores import CheckpointStore

LONG = "x" * 1000
KINDS = {
    "version 6": "1f0d{n:04x}-0000-6000-8000-0000000000ff",
    "version 7": "019b0000-{n:04x}-7000-bfff-ffffffffffff",
    "the low bits": "019b0000-0000-7000-8000-ffffffff{n:04x}",
    "across segments": "019b0000-0000-7fff-bfe0-{n:04x}00000000",
}


async def ids(persistence: Persistence, thread: str = "t", **where: Any) -> list[str]:
    return [each.id for each in await persistence.checkpoints.list(thread, **where)]


async def parts(persistence: Persistence) -> int:
    keys = [item.key async for item in scan_all(persistence.driver, "checkpoints", values=False)]
    return sum("!p!" in at for at in keys)


@pytest.mark.parametrize("kind", KINDS)
async def test_ordered_ids_are_in_their_order_whatever_that_of_puts(kind: str, persistence: Persistence) -> None:
    checkpoints = persistence.checkpoints
    ordered = [KINDS[kind].format(n=n) for n in range(0, 65536, 8191)]
    for id in (*ordered[::2], *ordered[::-1]):
        await checkpoints.put("t", {"id": id}, id=id)
        await checkpoints.put_writes("t", id, "task", [("channel", id)])
    latest = await checkpoints.get("t")
    assert latest is not None
    assert (latest.id, [each.value for each in latest.writes]) == (ordered[-1], [ordered[-1]])
    for id in ordered:
        found = await checkpoints.get("t", id=id)
        assert found is not None
        assert (found.checkpoint, [each.value for each in found.writes]) == ({"id": id}, [id])
    assert await ids(persistence) == ordered[::-1]
    assert await ids(persistence, before=ordered[3]) == ordered[2::-1]
    missing = KINDS[kind].format(n=8191 * 3 + 1)
    assert await ids(persistence, before=missing) == ordered[3::-1], "it says itself where it belongs"
    assert await checkpoints.get("t", id=missing) is None
    assert not await checkpoints.exists("t", id=missing)
    assert await checkpoints.exists("t", id=ordered[3])
    assert await checkpoints.prune("t", max_count=2) == len(ordered) - 2
    assert await ids(persistence) == ordered[:-3:-1]


async def test_other_ids_come_before_ordered_ones_and_in_the_order_of_puts(persistence: Persistence) -> None:
    ordered = KINDS["version 7"].format(n=5)
    for id in ("b", ordered, "a", ordered.upper(), "019b0000-0000-4000-8000-000000000000", "b"):
        await persistence.checkpoints.put("t", {}, id=id)
    expected = [ordered, "019b0000-0000-4000-8000-000000000000", ordered.upper(), "a", "b"]
    assert await ids(persistence) == expected
    assert await ids(persistence, before=ordered) == expected[1:]
    page = await persistence.checkpoints.list("t", limit=2)
    assert await ids(persistence, cursor=page.cursor) == expected[2:]


async def test_writes_before_their_checkpoint_show_nothing_until_it_comes(persistence: Persistence) -> None:
    ordered = [KINDS["version 6"].format(n=n) for n in range(3)]
    for first, second in (("a", "b"), ordered[:2]):
        await persistence.checkpoints.put(first, {}, id=first)
        await persistence.checkpoints.put_writes(first, second, "task", [("c", 1)], namespace="")
        await persistence.checkpoints.put_writes(first, second, "task", [("c", 2)], namespace="other")
        assert await ids(persistence, first) == [first]
        assert (await persistence.checkpoints.get(first)).writes == []  # type: ignore[union-attr]
        assert await persistence.checkpoints.get(first, id=second) is None
        assert not await persistence.checkpoints.exists(first, namespace="other")
        assert await persistence.checkpoints.namespaces(first) == [""]
        await persistence.checkpoints.put(first, {}, id=second, namespace="other")
        found = await persistence.checkpoints.get(first, namespace="other")
        assert found is not None
        assert [each.value for each in found.writes] == [2]


async def test_writes_come_in_the_order_of_paths_tasks_and_numbers(persistence: Persistence) -> None:
    put_writes = persistence.checkpoints.put_writes
    await persistence.checkpoints.put("t", {}, id="c")
    await put_writes("t", "c", "task1", [("a", 1), ("b", 2)], task_path="~2")
    await put_writes("t", "c", "task2", [(n, "many", n) for n in range(12)], task_path="~1")
    await put_writes("t", "c", "task0", [(-1, "error", "first"), ("c", "stays")], task_path="~2", first=0)
    await put_writes("t", "c", "task0", [(-1, "error", b"second"), (1, "c", "ignored"), (2, "d", None)], task_path="~2")
    found = await persistence.checkpoints.get("t")
    assert found is not None
    assert [(each.task_path, each.task_id, each.index, each.channel, each.value) for each in found.writes] == [
        *(("~1", "task2", n, "many", n) for n in range(12)),
        ("~2", "task0", -1, "error", b"second"),
        ("~2", "task0", 1, "c", "stays"),
        ("~2", "task0", 2, "d", None),
        ("~2", "task1", 0, "a", 1),
        ("~2", "task1", 1, "b", 2),
    ]
    await put_writes("t", "c", "task", [])
    wrong: list[Any] = [("a",), "ab", (True, "a", 1), (1.0, "a", 1), (1, 2, 3), (10**13, "a", 1), ("a", {1: 2})]
    for write in wrong:
        with pytest.raises(InvalidValueError):
            await put_writes("t", "c", "task", [write])
    with pytest.raises(InvalidValueError):
        await put_writes("t", "c", "task", [("\ud800", 1)])


async def test_channels_are_looked_at_when_their_version_changes(persistence: Persistence) -> None:
    seen: list[Any] = []

    def encode(value: Any) -> Any:
        seen.append(value)
        return ["json", {"is": value}]

    channels: dict[str, Any] = {"messages": [LONG, LONG + "2"], "plan": "p", "raw": None}
    versions: dict[str, str | int | float] = {"messages": 1, "plan": "1.5", "raw": 0.25}
    store = persistence.checkpoints
    await store.put("t", {"v": 4}, id="a", channels=channels, versions=versions, encode=encode)
    assert seen == list(channels.values())
    seen.clear()
    channels["plan"], versions["plan"], versions["gone"] = b"q" * 500, "1.6", 3
    await store.put("t", {"v": 4}, id="b", channels=channels, versions=versions, encode=encode)
    assert seen == [b"q" * 500]
    await store.put("t", {}, id="c", channels={"plan": "p"})
    await store.put("t", {}, id="d", channels={"plan": [LONG]}, namespace="n", versions={"plan": "1.6"})
    for id, plan in (("a", "p"), ("b", b"q" * 500)):
        found = await store.get("t", id=id)
        assert found is not None
        assert found.checkpoint == {"v": 4}
        assert found.channels == {name: ["json", {"is": value}] for name, value in {**channels, "plan": plan}.items()}
    assert found is not None
    assert found.versions == versions
    assert (await store.get("t")).channels == {"plan": "p"}  # type: ignore[union-attr]
    assert (await store.get("t", namespace="n")).channels == {"plan": [LONG]}  # type: ignore[union-attr]
    other = CheckpointStore(persistence.driver)
    assert (await other.get("t", id="b")) is not None
    seen.clear()
    await other.put("t", {}, id="e", channels=channels, versions=versions, encode=encode)
    assert seen == [], "who has read them knows them"
    found = await store.get("t", id="e")
    assert found is not None
    assert found.channels == {name: ["json", {"is": value}] for name, value in channels.items()}
    wrong: list[Any] = [{"a": True}, {"a": None}, {"a": [1]}, {1: 1}]
    for each in wrong:
        with pytest.raises(InvalidValueError):
            await store.put("t", {}, channels={}, versions=each)


@pytest.mark.parametrize(
    "element", [LONG, LONG.encode(), {"a": [LONG.encode(), b"short", {"b": b""}], "c": 1}, "short"]
)
async def test_lists_are_shared_by_their_elements_whatever_they_are(element: Any, persistence: Persistence) -> None:
    def made(n: int) -> Any:
        if isinstance(element, dict):
            return {**element, "n": n}
        return element + (str(n) if isinstance(element, str) else str(n).encode())

    messages = [made(n) for n in range(40)]
    await persistence.checkpoints.put("t", {"channels": {"messages": messages}}, id="a")
    before = await parts(persistence)
    messages += [made(40), b"\0", made(41)]
    await persistence.checkpoints.put("t", {"channels": {"messages": messages}}, id="b")
    await persistence.checkpoints.put_writes("t", "b", "task", [("messages", messages), ("other", messages[-1])])
    if element != "short":
        assert await parts(persistence) - before <= 4
    found = await persistence.checkpoints.get("t")
    assert found is not None
    assert found.checkpoint == {"channels": {"messages": messages}}
    assert [each.value for each in found.writes] == [messages, messages[-1]]


async def test_another_process_stores_only_what_is_new(persistence: Persistence) -> None:
    messages = [f"{n}" + os.urandom(200).hex() for n in range(50)]
    await persistence.checkpoints.put("t", {"messages": messages}, id="c0")
    assert await parts(persistence) == 50
    for n in range(1, 4):
        messages.append(f"{n}" + LONG)
        await CheckpointStore(persistence.driver).put("t", {"messages": messages}, id=f"c{n}")
    assert await parts(persistence) == 53
    await persistence.checkpoints.put("t", {"messages": messages}, id="c3")
    await persistence.checkpoints.prune("t", max_count=1)
    messages.append("last" + LONG)
    await persistence.checkpoints.put("t", {"messages": messages}, id="c4")
    assert await parts(persistence) <= 58
    latest = await persistence.checkpoints.get("t")
    assert latest is not None
    assert latest.checkpoint == {"messages": messages}


async def test_late_writes_do_not_bring_a_deleted_thread_back(persistence: Persistence) -> None:
    ours, theirs = persistence.checkpoints, CheckpointStore(persistence.driver)
    await ours.put("t", {}, id="a")
    assert await theirs.delete("t")
    for store in (ours, theirs):
        await store.put_writes("t", "a", "task", [("c", 1)])
        with pytest.raises(NotFoundError, match="deleted"):
            await store.put("t", {}, id="b", parent_id="a")
    assert await ours.get("t") is None
    assert await ids(persistence) == []
    assert await ours.namespaces("t") == []
    assert not await ours.exists("t")
    assert not await ours.delete("t")
    assert await ours.prune("t", max_count=1) == 0
    with pytest.raises(NotFoundError):
        await ours.copy("t", "u")
    await theirs.put("u", {"n": 1}, id="a")
    assert await theirs.copy("u", "t") > 0, "what is absent can be copied to"
    assert await ids(persistence) == ["a"]
    assert await ours.delete("t")
    await theirs.put("t", {"n": 2}, id="first")
    await ours.put("t", {"n": 3}, id="second", parent_id="first")
    assert await ids(persistence) == ["second", "first"]


async def test_the_same_id_put_again_beside_others_loses_nothing(persistence: Persistence) -> None:
    stores = [CheckpointStore(persistence.driver) for _ in range(3)]
    messages = [f"{n}{LONG}" for n in range(5)]

    async def run(n: int) -> None:
        for step in range(4):
            await stores[n].put("t", {"messages": messages[: step + 1]}, id="same" if step % 2 else f"{n}-{step}")
            found = await stores[n].get("t", id="same")
            assert found is None or found.checkpoint["messages"] == messages[: len(found.checkpoint["messages"])]

    await asyncio.gather(*(run(n) for n in range(3)))
    assert len(await ids(persistence)) == 7
    for each in await persistence.checkpoints.list("t"):
        assert each.checkpoint["messages"] == messages[: len(each.checkpoint["messages"])]
