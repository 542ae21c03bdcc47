"""Threads, their messages and forks, on every driver."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from math import inf, isnan, nan
from typing import Any

import pytest
from limpet import (
    ALL,
    ConflictError,
    InvalidCursorError,
    InvalidKeyError,
    InvalidValueError,
    NotFoundError,
    Persistence,
    UnsupportedError,
)
from limpet.driver import Delete, Range
from limpet.records import ThreadRecord
from limpet.structures import collect_garbage
from pydantic import BaseModel


async def made(
    persistence: Persistence, id: str = "t1", messages: int = 0, *, user_id: str = "u1", agent_name: str = "planner"
) -> ThreadRecord:
    thread = await persistence.threads.create(id=id, user_id=user_id, agent_name=agent_name)
    for n in range(messages):
        await persistence.threads.add_message(id, "user", f"{id}m{n}")
    return thread


async def contents(persistence: Persistence, id: str) -> list[str]:
    return [message.content for message in await persistence.threads.get_messages(id)]


async def test_the_main_job(persistence: Persistence) -> None:
    threads = persistence.threads
    thread = await threads.create(user_id="u1", agent_name="planner", title="Trip", metadata={"lang": "de"})
    message = await threads.add_message(thread.id, "user", "Find me a train")
    assert (message.seq, message.role, message.content) == (0, "user", "Find me a train")
    assert message.id
    assert message.timestamp
    found = await threads.get(thread.id)
    assert found is not None
    assert (found.title, found.metadata, found.message_count) == ("Trip", {"lang": "de"}, 1)
    assert found.active_at is not None
    assert list(await threads.get_messages(thread.id)) == [message]
    fork = await threads.fork(thread.id, title="What if")
    await threads.add_message(fork.id, "assistant", "There is one at nine")
    assert [await threads.count_messages(each) for each in (thread.id, fork.id)] == [1, 2]


async def test_missing_gives_none_or_nothing(persistence: Persistence) -> None:
    threads = persistence.threads
    assert await threads.get("no") is None
    assert await threads.list() == []
    assert "await it" in repr(threads.list()), "who forgot to, sees it"
    assert await threads.list(user_id="u", agent_name="a", limit=5, offset=5) == []
    assert await threads.get_messages("no", last=5) == []
    assert await threads.count_messages("no") == 0
    assert not await threads.delete("no")
    for call in (
        threads.add_message("no", "user", "x"),
        threads.update("no", title="x"),
        threads.fork("no"),
        threads.fork("no", at=3),
        threads.lineage("no"),
    ):
        with pytest.raises(NotFoundError, match="no thread 'no'"):
            await call


async def test_an_id_that_is_taken(persistence: Persistence) -> None:
    await made(persistence, messages=1)
    with pytest.raises(ConflictError, match="'t1'"):
        await made(persistence, user_id="somebody else")
    with pytest.raises(ConflictError, match="'t1'"):
        await persistence.threads.create(id="t1", user_id="somebody else", agent_name="x", exist_ok=True)
    same = await persistence.threads.create(id="t1", user_id="u1", agent_name="x", exist_ok=True)
    assert (same.user_id, same.agent_name, same.message_count) == ("u1", "planner", 1)
    answers = await asyncio.gather(
        *(persistence.threads.create(id="t2", user_id="u", agent_name=f"a{n}", exist_ok=True) for n in range(5))
    )
    assert len({each.agent_name for each in answers}) == 1
    assert (await persistence.threads.stats()).threads == 2


async def test_lists_by_user_and_agent_run_newest_first(persistence: Persistence) -> None:
    threads = persistence.threads
    for n in range(12):
        await made(persistence, f"t{n:02}", user_id=f"u{n % 2}", agent_name=f"a{n % 3}")
        await asyncio.sleep(0.002)
    await threads.add_message("t00", "user", "x")
    await threads.update("t01", title="moves nothing")
    assert [each.id for each in await threads.list()] == [f"t{n:02}" for n in reversed(range(12))]
    assert [each.id for each in await threads.list(user_id="u0")] == ["t10", "t08", "t06", "t04", "t02", "t00"]
    assert [each.id for each in await threads.list(agent_name="a0")] == ["t09", "t06", "t03", "t00"]
    both = threads.list(user_id="u0", agent_name="a0")
    assert [(each.id, each.message_count) async for each in both] == [("t06", 0), ("t00", 1)]
    page = await threads.list(limit=5)
    assert [each.id for each in await threads.list(limit=5, cursor=page.cursor)] == ["t06", "t05", "t04", "t03", "t02"]
    offset = await threads.list(limit=5, offset=5)
    assert [each.id for each in offset] == ["t06", "t05", "t04", "t03", "t02"]
    assert [each.id for each in await threads.list(limit=5, cursor=offset.cursor)] == ["t01", "t00"]
    assert await threads.list(offset=12) == []
    with pytest.raises(InvalidCursorError):
        await threads.list(user_id="u0", cursor=page.cursor)
    with pytest.raises(InvalidValueError):
        await threads.list(offset=1, cursor=page.cursor)


async def test_updates(persistence: Persistence) -> None:
    threads = persistence.threads
    thread = await threads.create(user_id="u", agent_name="a", title="Old", metadata={"a": 1, "b": {"c": 2}})
    await threads.add_message(thread.id, "user", "x")
    merged = await threads.update(thread.id, merge_metadata={"b": 3, "d": 4})
    assert (merged.title, merged.metadata, merged.message_count) == ("Old", {"a": 1, "b": 3, "d": 4}, 1)
    replaced = await threads.update(thread.id, title="New", metadata={"e": 5})
    assert replaced == await threads.get(thread.id)
    assert (replaced.title, replaced.metadata) == ("New", {"e": 5})
    assert replaced.created_at == thread.created_at
    assert (await threads.update(thread.id, title=None)).title is None
    await asyncio.gather(*(threads.update(thread.id, merge_metadata={f"k{n}": n}) for n in range(10)))
    found = await threads.get(thread.id)
    assert found is not None
    assert found.metadata == {"e": 5} | {f"k{n}": n for n in range(10)}
    with pytest.raises(InvalidValueError, match="merge_metadata"):
        await threads.update(thread.id, metadata={}, merge_metadata={})
    with pytest.raises(TypeError):
        await threads.update(thread.id, user_id="thief")  # type: ignore[call-arg]


async def test_messages_keep_whatever_belongs_to_them(persistence: Persistence) -> None:
    class Seen(BaseModel):
        at: datetime

    await made(persistence)
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    calls = [{"id": "c1", "function": {"name": "trains", "arguments": "{}"}}]
    added = await persistence.threads.add_message("t1", "assistant", None, tool_calls=calls, metadata={"seen": moment})
    answer = await persistence.threads.add_message("t1", "tool", [Seen(at=moment)], tool_call_id="c1", latency_ms=12)
    first, second = await persistence.threads.get_messages("t1")
    assert [first, second] == [added, answer], "what is answered is what is stored"
    assert (first.tool_calls, first.content, first.metadata) == (calls, None, {"seen": "2026-01-02T00:00:00Z"})
    assert (second.tool_call_id, second.content) == ("c1", [{"at": "2026-01-02T00:00:00Z"}])
    assert second.model_extra == {"latency_ms": 12}
    with pytest.raises(InvalidValueError, match="JSON"):
        await persistence.threads.add_message("t1", "user", object())


async def test_an_id_is_added_once(persistence: Persistence) -> None:
    await made(persistence)
    threads = persistence.threads
    answers = await asyncio.gather(
        *(threads.add_message("t1", "user", f"try {n}", id="m1", unique=True) for n in range(5))
    )
    assert len({(each.seq, each.content) for each in answers}) == 1
    assert await threads.count_messages("t1") == 1


async def test_a_turn_is_all_or_nothing(persistence: Persistence) -> None:
    await made(persistence)
    turn = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    added = await persistence.threads.add_messages("t1", turn)
    assert [(each.seq, each.content) for each in added] == [(0, "Hi"), (1, "Hello")]
    with pytest.raises(InvalidValueError):
        await persistence.threads.add_messages("t1", [*turn, {"content": "nobody said that"}])
    assert await persistence.threads.add_messages("t1", []) == []
    assert await persistence.threads.count_messages("t1") == 2


async def test_pages_of_messages_both_ways(persistence: Persistence) -> None:
    threads = persistence.threads
    await made(persistence, messages=10)
    assert [each.seq for each in await threads.get_messages("t1", after=2, before=6)] == [3, 4, 5]
    last = await threads.get_messages("t1", last=4)
    assert [each.seq for each in last] == [6, 7, 8, 9]
    assert [each.seq for each in await threads.get_messages("t1", last=4, cursor=last.cursor)] == [2, 3, 4, 5]
    page = await threads.get_messages("t1", limit=3, offset=4)
    assert [each.seq for each in page] == [4, 5, 6]
    assert [each.seq for each in await threads.get_messages("t1", limit=9, cursor=page.cursor)] == [7, 8, 9]
    assert await threads.truncate_after_message("t1", 3) == 6
    await threads.add_messages("t1", [{"role": "user", "content": n} for n in range(3)])
    assert [each.seq for each in await threads.get_messages("t1", limit=2, offset=3)] == [3, 10], "over the gap"
    assert [each.seq async for each in threads.get_messages("t1", offset=5)] == [11, 12]
    assert await threads.get_messages("t1", offset=7) == []
    with pytest.raises(InvalidValueError):
        await threads.get_messages("t1", offset=1, last=1)
    assert await threads.clear_messages("t1") == 7
    thread = await threads.get("t1")
    assert thread is not None
    assert (thread.message_count, thread.user_id) == (0, "u1")


async def test_a_message_is_changed_or_removed(persistence: Persistence) -> None:
    threads = persistence.threads
    await made(persistence, messages=5)
    first = (await threads.get_messages("t1", limit=1))[0]
    changed = await threads.update_message("t1", 1, content="better", metadata={"by": "editor"}, seen=True)
    assert (changed.seq, changed.role, changed.content, changed.model_extra) == (1, "user", "better", {"seen": True})
    assert await contents(persistence, "t1") == ["t1m0", "better", "t1m2", "t1m3", "t1m4"]
    assert first.id is not None
    assert await threads.delete_message("t1", first.id)
    assert not await threads.delete_message("t1", first.id)
    assert await threads.delete_message("t1", 3)
    assert await contents(persistence, "t1") == ["better", "t1m2", "t1m4"]
    assert [each.seq for each in await threads.get_messages("t1", offset=1)] == [2, 4]
    assert await threads.count_messages("t1") == 3
    await threads.fork("t1", at=2, id="fork")
    assert await threads.delete_message("fork", 1)
    assert await threads.delete_message("t1", 2)
    assert await contents(persistence, "fork") == ["t1m2"]
    assert await contents(persistence, "t1") == ["better", "t1m4"]
    assert (await threads.update_message("t1", 4, content="not shared")).content == "not shared"
    for thread, seq in (("t1", 1), ("fork", 2)):
        with pytest.raises(UnsupportedError, match="fork"):
            await threads.update_message(thread, seq, content="x")
    for missing in (0, 9, "nobody"):
        with pytest.raises(NotFoundError):
            await threads.update_message("t1", missing, content="x")
    with pytest.raises(InvalidValueError, match="id"):
        await threads.update_message("t1", 4, id="other")
    with pytest.raises(NotFoundError):
        await threads.update_message("no", 0, content="x")


async def test_concurrent_appends_are_counted_exactly(persistence: Persistence) -> None:
    await made(persistence)
    await asyncio.gather(*(persistence.threads.add_message("t1", "user", n) for n in range(50)))
    thread = await persistence.threads.get("t1")
    assert thread is not None
    assert thread.message_count == 50
    assert sorted(each.content for each in await persistence.threads.get_messages("t1")) == list(range(50))


async def test_a_fork_shares_and_then_differs(persistence: Persistence) -> None:
    threads = persistence.threads
    await threads.create(id="t1", user_id="u1", agent_name="planner", title="Trip", metadata={"a": 1})
    original = [await threads.add_message("t1", "user", f"t1m{n}") for n in range(6)]
    fork = await threads.fork("t1", at=3)
    assert (fork.parent_thread_id, fork.fork_at, fork.message_count) == ("t1", 3, 4)
    assert (fork.user_id, fork.agent_name, fork.title, fork.metadata) == ("u1", "planner", "Fork of Trip", {"a": 1})
    shared = list(await threads.get_messages(fork.id))
    assert shared == original[:4]
    assert [each.seq for each in shared] == [0, 1, 2, 3]
    await threads.add_message(fork.id, "user", "mine")
    await threads.add_message("t1", "user", "theirs")
    assert await contents(persistence, fork.id) == ["t1m0", "t1m1", "t1m2", "t1m3", "mine"]
    assert (await contents(persistence, "t1"))[-1] == "theirs"
    by_id = await threads.fork("t1", at=original[1].id, id="t2", title="Other", metadata={}, user_id="u2")
    assert (by_id.id, by_id.title, by_id.metadata, by_id.user_id, by_id.fork_at) == ("t2", "Other", {}, "u2", 1)
    assert [each.id for each in await threads.list(user_id="u2")] == ["t2"]
    assert await threads.truncate_after_message("t2", 0) == 1
    assert await contents(persistence, "t2") == ["t1m0"]
    for at in (-1, 7, 99):
        with pytest.raises(NotFoundError, match="message"):
            await threads.fork("t1", at=at)
    with pytest.raises(NotFoundError, match="'nobody'"):
        await threads.fork("t1", at="nobody")
    with pytest.raises(ConflictError, match="'t2'"):
        await threads.fork("t1", id="t2")
    assert (await threads.stats(messages=True)).messages == 13


async def test_a_fork_survives_its_parent_with_its_lineage(persistence: Persistence) -> None:
    threads = persistence.threads
    await made(persistence, "a", messages=3)
    await threads.fork("a", id="b")
    await threads.add_message("b", "user", "bm3")
    for id, parent in (("c", "b"), ("d", "b"), ("e", "d"), ("f", "a")):
        await asyncio.sleep(0.002)
        await threads.fork(parent, id=id)
    tree = await threads.lineage("b")
    assert (tree.ancestors, tree.descendants) == (("a",), ("c", "d", "e"))
    assert set(tree.records) == {"a", "b", "c", "d", "e"}
    assert (await threads.lineage("a")).descendants == ("b", "f", "c", "d", "e")
    assert (await threads.lineage("e")).ancestors == ("a", "b", "d")
    assert await threads.delete("a")
    assert await threads.delete("b")
    await persistence.collect_garbage()
    tree = await threads.lineage("e")
    assert (tree.ancestors, tree.descendants, set(tree.records)) == (("a", "b", "d"), (), {"d", "e"})
    assert (await threads.lineage("d")).descendants == ("e",)
    assert await contents(persistence, "e") == ["am0", "am1", "am2", "bm3"]
    for id in ("c", "d", "e", "f"):
        assert await threads.delete(id)
    await persistence.collect_garbage()
    left = [item.key for item in (await persistence.driver.scan(Range("", limit=200))).items]
    assert [each for each in left if not each.endswith("!n") and ".count!" not in each] == ["manifest"]


async def test_a_thread_goes_with_all_that_hangs_on_it(persistence: Persistence) -> None:
    threads = persistence.threads
    await made(persistence, messages=3)
    await made(persistence, "t2", messages=1)
    for n in range(3):
        for id in ("t1", "t2"):
            await persistence.feedback.create(id, rating=n + 1)
            await persistence.approvals.create(thread_id=id, agent_name="planner", node_name=str(n), state=n)
    for id in ("t1", "t2"):
        await persistence.checkpoints.put(id, {"step": 1})
    assert await threads.delete("t1")
    assert not await threads.delete("t1")
    assert await threads.get("t1") is None
    assert await persistence.checkpoints.get("t1") is None
    assert await persistence.checkpoints.get("t2") is not None
    assert await threads.get_messages("t1") == []
    with pytest.raises(NotFoundError):
        await threads.add_message("t1", "user", "too late")
    assert {each.thread_id for each in await persistence.feedback.list()} == {"t2"}
    assert {each.thread_id for each in await persistence.approvals.list()} == {"t2"}
    stats = await threads.stats(messages=True)
    assert (stats.threads, stats.feedback, stats.messages) == (1, 3, 1)
    await made(persistence)
    assert await persistence.feedback.list(thread_id="t1") == []
    assert await threads.count_messages("t1") == 0


async def test_a_deletion_that_stopped_in_the_middle_is_ended(
    persistence: Persistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = persistence.threads

    async def stop(thread_id: str) -> int:
        raise ConnectionError("the process died here")

    for id in ("t1", "t2"):
        await made(persistence, id, messages=1)
        await persistence.feedback.create(id, rating=1)
        with monkeypatch.context() as patch:
            patch.setattr(persistence.feedback, "clear", stop)
            with pytest.raises(ConnectionError):
                await threads.delete(id)
        assert await threads.get(id) is None
        assert await persistence.feedback.list(thread_id=id) == []
    await made(persistence, "t1")
    assert await persistence.feedback.list(thread_id="t1") == []
    await persistence.collect_garbage()
    await made(persistence, "t2")
    assert await persistence.feedback.list() == []
    assert (await threads.stats()).feedback == 0


async def test_repair_finds_threads_again(persistence: Persistence) -> None:
    await made(persistence)
    entries = (await persistence.driver.scan(Range("threads.by"))).items
    await persistence.driver.apply([Delete(item.key) for item in entries])
    assert await persistence.threads.list() == []
    report = await persistence.threads.repair()
    assert (report.documents, report.added) == (1, 4)
    assert len(await persistence.threads.list(user_id="u1", agent_name="planner")) == 1
    assert await collect_garbage(persistence.driver) == 0


async def test_a_float_that_is_no_number_is_kept_wherever_it_stands(persistence: Persistence) -> None:
    odd = {"low": [-inf], "high": inf}
    thread = await persistence.threads.create(user_id="u1", agent_name="planner", metadata=odd)
    await persistence.threads.add_message(thread.id, "user", odd)
    suspended = await persistence.approvals.create(
        thread_id=thread.id, agent_name="planner", node_name="n", state={**odd, "none": nan}
    )
    await persistence.checkpoints.put(thread.id, odd, id="c", metadata=odd)
    found = await persistence.threads.get(thread.id)
    approval, checkpoint = await persistence.approvals.get(suspended.id), await persistence.checkpoints.get(thread.id)
    assert found is not None
    assert approval is not None
    assert checkpoint is not None
    (message,) = await persistence.threads.get_messages(thread.id)
    assert [found.metadata, message.content, checkpoint.checkpoint, checkpoint.metadata] == [odd] * 4
    assert isnan(approval.state.pop("none"))
    assert approval.state == odd


@pytest.mark.parametrize("field", ["user_id", "agent_name"])
async def test_none_is_not_everybody(persistence: Persistence, field: str) -> None:
    await persistence.threads.create(user_id="ada", agent_name="a", id="t")
    nobody: dict[str, Any] = {field: None}
    everybody: dict[str, Any] = {field: ALL}
    with pytest.raises(InvalidKeyError, match=field):
        await persistence.threads.list(**nobody)
    with pytest.raises(InvalidKeyError, match=field):
        await persistence.feedback.list(**nobody)
    assert [each.id for each in await persistence.threads.list(**everybody)] == ["t"]


async def test_a_thread_is_its_users(persistence: Persistence) -> None:
    threads = persistence.threads
    await threads.create(user_id="ada", agent_name="a", id="t")
    assert await threads.get("t", user_id="ada") == await threads.get("t")
    assert await threads.get("t", user_id="bob") is None
    with pytest.raises(InvalidKeyError, match="user_id"):
        await threads.get("t", user_id=None)  # type: ignore[arg-type]
    assert (await threads.create(user_id="ada", agent_name="a", id="t", exist_ok=True)).id == "t"
    with pytest.raises(ConflictError):
        await threads.create(user_id="bob", agent_name="a", id="t", exist_ok=True)
