"""The rules of Agentomatic's `BaseStore`, method by method, and where its own two stores disagree."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from agentomatic.storage import BaseStore
from limpet import ConfigurationError, ConflictError, InvalidValueError, LimpetError, NotFoundError, Persistence
from limpet_adapters.agentomatic import LimpetStore


@pytest.fixture
def store(persistence: Persistence) -> LimpetStore:
    return LimpetStore(persistence)


def methods(of: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(function)
        for name, function in inspect.getmembers(of, inspect.isfunction)
        if not name.startswith("_")
    }


def test_every_method_is_there_with_the_same_arguments() -> None:
    theirs, ours = methods(BaseStore), methods(LimpetStore)
    assert len(theirs) == 33
    for name, signature in theirs.items():
        assert getattr(LimpetStore, name) is not getattr(BaseStore, name), f"{name} is only inherited"
        assert list(signature.parameters.values()) == list(ours[name].parameters.values()), name


async def test_threads(store: LimpetStore) -> None:
    made = await store.create_thread("t1", "ada", "planner", title="Trip", metadata={"lang": "de"})
    assert made == await store.get_thread("t1")
    assert list(made) == [
        "id", "user_id", "agent_name", "title", "metadata", "created_at", "updated_at", "message_count",
        "parent_thread_id", "fork_message_index",
    ]  # fmt: skip
    assert (made["message_count"], made["parent_thread_id"], made["fork_message_index"]) == (0, None, None)
    assert made["created_at"].endswith("+00:00")
    with pytest.raises(ConflictError):
        await store.create_thread("t1", "bob", "other")
    assert await store.get_thread("t1") == made
    assert await store.get_thread("no") is None
    made["metadata"]["lang"] = "changed"
    assert (await store.get_thread("t1") or {})["metadata"] == {"lang": "de"}, "what is returned is a copy"


async def test_lists_of_threads_are_newest_first_and_have_pages(store: LimpetStore) -> None:
    for n in range(6):
        await store.create_thread(f"t{n}", f"u{n % 2}", f"a{n % 3}")
        await asyncio.sleep(0.002)

    async def ids(**of: Any) -> list[str]:
        return [thread["id"] for thread in await store.list_threads(**of)]

    assert await ids() == ["t5", "t4", "t3", "t2", "t1", "t0"]
    assert await ids(limit=2, offset=1) == ["t4", "t3"]
    assert await ids(user_id="u1") == ["t5", "t3", "t1"]
    assert await ids(agent_name="a0", user_id="u1") == ["t3"]
    assert await ids(agent_name="", user_id="") == await ids(), "an empty filter is none"
    assert await ids(limit=0) == await ids(user_id="nobody") == []


async def test_updates_of_threads(store: LimpetStore) -> None:
    await store.create_thread("t1", "ada", "planner", title="Trip", metadata={"a": 1})
    assert (await store.update_thread("t1", title="Sea") or {})["title"] == "Sea"
    assert (await store.update_thread("t1", metadata={"b": 2}) or {})["metadata"] == {"b": 2}
    assert (await store.update_thread("t1", metadata_json={"c": 3}) or {})["metadata"] == {"c": 3}
    assert (await store.update_thread("t1", title=None, metadata=None) or {})["metadata"] == {}
    for other in ({"id": "t2"}, {"user_id": "bob"}, {"colour": "red"}):
        with pytest.raises(TypeError, match="cannot be changed"):
            await store.update_thread("t1", **other)
    assert await store.update_thread("no", title="x") is None


async def test_messages(store: LimpetStore) -> None:
    await store.create_thread("t1", "ada", "planner")
    before = await store.get_thread("t1") or {}
    await asyncio.sleep(0.01)
    said = [await store.add_message("t1", "user", f"m{n}", metadata={"n": n} if n else None) for n in range(5)]
    assert list(said[0]) == ["id", "thread_id", "role", "content", "metadata", "timestamp"]
    assert [message["id"] for message in said] == [1, 2, 3, 4, 5]
    assert (said[0]["metadata"], said[1]["metadata"]) == ({}, {"n": 1})
    assert await store.get_messages("t1") == said
    assert await store.get_messages("t1", limit=2, offset=3) == said[3:]
    assert await store.get_messages("t1", limit=0) == await store.get_messages("no") == []
    after = await store.get_thread("t1") or {}
    assert after["message_count"] == 5
    assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(before["updated_at"])
    with pytest.raises(NotFoundError):
        await store.add_message("no", "user", "x")


async def test_concurrent_messages_are_all_counted(store: LimpetStore) -> None:
    await store.create_thread("t1", "ada", "planner")
    added = await asyncio.gather(*(store.add_message("t1", "user", str(n)) for n in range(50)))
    assert sorted(message["id"] for message in added) == list(range(1, 51))
    assert (await store.get_thread("t1") or {})["message_count"] == 50


async def test_forks_and_lineage(store: LimpetStore) -> None:
    await store.create_thread("t1", "ada", "planner", title="Trip", metadata={"a": 1})
    said = [await store.add_message("t1", "user", f"m{n}") for n in range(4)]
    fork = await store.fork_thread("t1", 1, "t2") or {}
    assert (fork["title"], fork["metadata"], fork["user_id"]) == ("Fork of Trip", {"a": 1}, "ada")
    assert (fork["parent_thread_id"], fork["fork_message_index"], fork["message_count"]) == ("t1", 1, 2)
    assert [{**message, "thread_id": "t1"} for message in await store.get_messages("t2")] == said[:2]
    whole = await store.fork_thread("t2", 99, "t3", title="All") or {}
    assert (whole["title"], whole["message_count"], whole["fork_message_index"]) == ("All", 2, 1)
    assert await store.fork_thread("t1", -1, "t4") is None
    assert await store.fork_thread("no", 0, "t4") is None
    with pytest.raises(ConflictError):
        await store.fork_thread("t1", 0, "t2")
    lineage = await store.get_thread_lineage("t2")
    assert [thread["id"] for thread in lineage["ancestors"]] == ["t1"]
    assert [thread["id"] for thread in lineage["descendants"]] == ["t3"]
    assert [thread["id"] for thread in (await store.get_thread_lineage("t1"))["descendants"]] == ["t2"], "direct ones"
    assert await store.get_thread_lineage("no") == {"thread_id": "no", "ancestors": [], "descendants": []}
    await store.delete_thread("t1")
    assert (await store.get_thread_lineage("t3"))["ancestors"] == [await store.get_thread("t2")]
    assert len(await store.get_messages("t3")) == 2


async def test_feedback(store: LimpetStore) -> None:
    await store.create_thread("t1", "ada", "planner")
    full = await store.add_feedback(
        "t1", "ada", "planner", rating=5, comment="good", message_id=2, feedback_type="stars", query="A?", response="B",
        correction="C",
    )  # fmt: skip
    assert list(full) == [
        "id", "thread_id", "user_id", "agent_name", "rating", "comment", "message_id", "feedback_type", "query",
        "response", "correction", "created_at",
    ]  # fmt: skip
    assert (full["message_id"], full["query"], full["correction"]) == (2, "A?", "C")
    await asyncio.sleep(0.002)
    alone = await store.add_feedback("", "bob", "planner", rating=1)
    await asyncio.sleep(0.002)
    unknown = await store.add_feedback("elsewhere", "bob", "other")
    assert (alone["thread_id"], unknown["thread_id"], unknown["message_id"]) == ("", "elsewhere", None)
    assert await store.get_feedback() == [unknown, alone, full]
    assert await store.get_feedback(agent_name="planner", limit=1) == [alone]
    assert await store.get_feedback(user_id="bob", agent_name="planner") == [alone]
    assert await store.get_feedback(limit=0) == []
    with pytest.raises(InvalidValueError):
        await store.add_feedback("t1", "ada", "planner", rating=6)
    await store.delete_thread("t1")
    assert await store.get_feedback() == [unknown, alone]


async def test_what_others_stored_is_shown(store: LimpetStore, persistence: Persistence) -> None:
    await persistence.threads.create(id="t1", user_id="ada", agent_name="planner")
    message = await persistence.threads.add_message("t1", "assistant", None, tool_calls=[{"id": "c1"}])
    await persistence.feedback.create("t1", message_id=message.id, rating=4)
    (shown,) = await store.get_messages("t1")
    assert (shown["id"], shown["content"], shown["metadata"]) == (1, None, {})
    (feedback,) = await store.get_feedback()
    assert (feedback["message_id"], feedback["query"], feedback["user_id"]) == (message.id, "", "ada")


async def test_suspended_states(store: LimpetStore) -> None:
    saved = await store.save_suspended_state("a1", "t1", "planner", "pay", {"euros": 59, "metadata": {"v": [1]}})
    assert list(saved) == [
        "id", "thread_id", "agent_name", "node_name", "state_snapshot", "created_at", "expires_at",
    ]  # fmt: skip
    assert saved["state_snapshot"] == {"euros": 59, "metadata": {"v": [1]}}
    lives = datetime.fromisoformat(saved["expires_at"]) - datetime.fromisoformat(saved["created_at"])
    assert lives.days == 7
    assert await store.get_suspended_state("a1") == saved
    with pytest.raises(ConflictError):
        await store.save_suspended_state("a1", "t2", "planner", "pay", {})
    await asyncio.sleep(0.002)
    other = await store.save_suspended_state("a2", "t2", "other", "pay", {})
    assert await store.list_suspended_states() == [other, saved]
    assert await store.list_suspended_states(thread_id="t1", agent_name="planner") == [saved]
    assert await store.list_suspended_states(thread_id="t1", agent_name="other") == []
    deleted = await asyncio.gather(*(store.delete_suspended_state("a1") for _ in range(5)))
    assert sorted(deleted) == [False, False, False, False, True]
    assert await store.get_suspended_state("a1") is None


async def test_messages_in_a_suspended_state_stay_messages(
    store: LimpetStore, reopened: Callable[[], Persistence]
) -> None:
    from langchain_core.messages import AIMessage, HumanMessage

    state = {"messages": [HumanMessage("Pay?"), AIMessage("59 euros")], "at": datetime(2026, 1, 2, tzinfo=UTC)}
    await store.save_suspended_state("a1", "t1", "planner", "pay", state)
    found = await LimpetStore(reopened()).get_suspended_state("a1") or {}
    assert found["state_snapshot"] == state
    assert [type(message) for message in found["state_snapshot"]["messages"]] == [HumanMessage, AIMessage]


async def test_a_suspended_state_whose_time_is_over_is_gone(store: LimpetStore, persistence: Persistence) -> None:
    await store.save_suspended_state("kept", "t1", "planner", "pay", {})
    await persistence.approvals.create("t1", id="old", agent_name="planner", node_name="pay", state={}, ttl=0.05)
    await asyncio.sleep(0.2)
    assert await store.get_suspended_state("old") is None
    assert [state["id"] for state in await store.list_suspended_states()] == ["kept"]
    assert await store.cleanup_expired_states() == 1
    assert await store.cleanup_expired_states() == 0


async def test_checkpoints(store: LimpetStore) -> None:
    for n in range(1, 4):
        parent = f"c{n - 1}" if n > 1 else None
        await store.save_checkpoint("t1", "", f"c{n}", parent, {"step": n, "values": {"m": ["x"] * n}}, {"n": n})
    await store.save_checkpoint("t1", "inner", "c1", None, {"step": 0}, {})
    third = await store.get_checkpoint("t1", "", "c3") or {}
    assert list(third) == [
        "thread_id", "checkpoint_ns", "checkpoint_id", "parent_checkpoint_id", "checkpoint", "metadata", "created_at",
    ]  # fmt: skip
    assert third["checkpoint"] == {"step": 3, "values": {"m": ["x", "x", "x"]}}
    assert (third["parent_checkpoint_id"], third["metadata"]) == ("c2", {"n": 3})
    assert await store.get_checkpoint("t1", "", "") == third, "the latest"
    assert await store.get_checkpoint("t1", "", "no") is None
    assert await store.get_checkpoint("no", "", "") is None

    async def ids(**of: Any) -> list[str]:
        return [each["checkpoint_id"] for each in await store.list_checkpoints("t1", "", **of)]

    assert await ids() == ["c3", "c2", "c1"]
    assert await ids(limit=2) == ["c3", "c2"]
    assert await ids(before="c3") == ["c2", "c1"]
    assert await ids(before="c3", limit=1) == ["c2"]
    assert await ids(before="no") == ["c3", "c2", "c1"]
    assert await ids(limit=0) == await store.list_checkpoints("no", "") == []
    await store.save_checkpoint("t1", "", "c1", None, {"step": "again"}, {})
    assert (await store.get_checkpoint("t1", "", "c1") or {})["checkpoint"] == {"step": "again"}
    assert await ids() == ["c3", "c2", "c1"]


async def test_one_checkpoint_saved_by_many_at_once(store: LimpetStore) -> None:
    saves = (store.save_checkpoint("t1", "", "c1", None, {"n": n}, {}) for n in range(10))
    await asyncio.gather(*saves)
    assert len(await store.list_checkpoints("t1", "")) == 1


async def test_deleting_a_thread(store: LimpetStore) -> None:
    await store.create_thread("t1", "ada", "planner")
    await store.add_message("t1", "user", "x")
    await store.add_feedback("t1", "ada", "planner", rating=1)
    await store.save_suspended_state("a1", "t1", "planner", "pay", {})
    await store.save_checkpoint("t1", "", "c1", None, {}, {})
    assert await store.get_stats() == {"backend": "LimpetStore", "threads": 1, "messages": 1, "feedback": 1}
    assert await store.delete_thread("t1") is True
    assert await store.delete_thread("t1") is False
    assert await store.get_stats() == {"backend": "LimpetStore", "threads": 0, "messages": 0, "feedback": 0}
    assert await store.get_messages("t1") == await store.list_suspended_states() == await store.get_feedback() == []
    assert await store.get_checkpoint("t1", "", "c1") is None
    again = await store.create_thread("t1", "ada", "planner")
    assert again["message_count"] == 0


async def test_invocation_logs(store: LimpetStore) -> None:
    made = []
    for n in range(6):
        entry = await store.create_invocation_log(
            agent_name=f"a{n % 2}", thread_id=f"t{n % 3}", endpoint="stream" if n == 5 else "invoke",
            status="error" if n == 4 else "ok", input_data={"n": n}, error="E" if n == 4 else None, duration_ms=1.5 * n,
        )  # fmt: skip
        made.insert(0, entry)
    assert set(made[0]) == {
        "id", "resource_type", "resource_name", "agent_name", "thread_id", "run_id", "timestamp", "endpoint", "input",
        "output", "metadata", "error", "duration_ms", "status",
    }  # fmt: skip
    assert made[0]["id"].startswith("invlog_")
    assert made[0]["resource_name"] == made[0]["agent_name"] == "a1"
    assert (made[0]["input"], made[0]["output"], made[0]["metadata"]) == ({"n": 5}, {}, {})
    assert await store.get_invocation_log(made[0]["id"]) == made[0]
    assert await store.get_invocation_log("no") is None
    assert await store.list_invocation_logs() == made
    assert await store.list_invocation_logs(limit=2, offset=1) == made[1:3]
    assert await store.list_invocation_logs(limit=0) == []
    for filters in (
        {"agent_name": "a0"},
        {"thread_id": "t1"},
        {"status": "error"},
        {"endpoint": "stream"},
        {"resource_type": "agent"},
        {"agent_name": "a0", "thread_id": "t2"},
        {"agent_name": ""},
        {"agent_name": "no"},
    ):
        wanted = [entry for entry in made if all(entry[name] == value for name, value in filters.items() if value)]
        assert await store.list_invocation_logs(**filters) == wanted
        assert await store.count_invocation_logs(**filters) == len(wanted)
    own = await store.create_invocation_log(agent_name="a", log_id="mine", resource_type="", input_data={"x": object()})
    assert (own["id"], own["resource_type"], type(own["input"]["x"])) == ("mine", "agent", str)
    with pytest.raises(ConflictError):
        await store.create_invocation_log(agent_name="other", log_id="mine")
    assert await store.get_invocation_log("mine") == own


async def test_logs_can_be_deleted(store: LimpetStore) -> None:
    for n in range(6):
        await store.create_invocation_log(agent_name="a", thread_id=f"t{n % 2}")
    await asyncio.sleep(0.01)
    between = datetime.now(UTC)
    last = await store.create_invocation_log(agent_name="a", thread_id="t1")
    assert await store.delete_invocation_logs(thread_id="t1", before=between) == 3
    assert [log["thread_id"] for log in await store.list_invocation_logs()] == ["t1", "t0", "t0", "t0"]
    assert await store.delete_invocation_logs(before=between) == 3
    assert await store.list_invocation_logs() == [last]
    for wrong in ({}, {"thread_id": ""}, {"before": datetime(2026, 1, 1)}):  # noqa: DTZ001 - which is refused
        with pytest.raises(InvalidValueError):
            await store.delete_invocation_logs(**wrong)  # type: ignore[arg-type]
    assert await store.delete_invocation_logs(thread_id="t1") == 1
    assert await store.count_invocation_logs() == 0


async def test_log_analyses(store: LimpetStore) -> None:
    made = []
    for n in range(3):
        entry = await store.save_log_analysis(
            agent_name="a", score=None if n == 0 else n / 2, summary=f"s{n}", status="ok", recommendations=["r"] * n,
            resource_type="pipeline" if n == 2 else "agent",
        )  # fmt: skip
        made.insert(0, entry)
    assert made[0]["id"].startswith("logan_")
    assert (made[0]["score"], made[2]["score"], made[0]["recommendations"]) == (1.0, None, ["r", "r"])
    assert await store.get_latest_log_analysis("a") == made[1]
    assert await store.get_latest_log_analysis("a", resource_type="pipeline") == made[0]
    assert await store.get_latest_log_analysis("no") is None
    assert await store.list_log_analyses() == made
    assert await store.list_log_analyses(agent_name="a", resource_type="agent", limit=1, offset=1) == [made[2]]


async def test_optimization_runs(store: LimpetStore) -> None:
    made = []
    for n in range(3):
        entry = await store.create_optimization_run(
            experiment_id=f"e{n % 2}", agent_name="a", baseline_score=0.5, best_score=0.5 + n, score_history=[0.5, n],
            prompt_versions={"v1": "Be kind"}, learnings=[{"n": n}], artefacts={"file": "x"},
        )  # fmt: skip
        made.insert(0, entry)
    assert made[0]["id"].startswith("optrun_")
    assert await store.get_optimization_run(made[0]["id"]) == made[0]
    assert await store.get_optimization_run("no") is None
    assert await store.list_optimization_runs() == made
    assert await store.list_optimization_runs(experiment_id="e0", agent_name="a") == [made[0], made[2]]
    assert await store.list_optimization_runs(agent_name="a", limit=1, offset=2) == [made[2]]


async def test_health(store: LimpetStore) -> None:
    await store.initialize()
    found = await store.health_check()
    assert (found["status"], found["backend"]) == ("healthy", "LimpetStore")
    assert found["server"]


async def test_everything_is_there_after_a_restart(reopened: Callable[[], Persistence]) -> None:
    before = LimpetStore(reopened())
    await before.create_thread("t1", "ada", "planner")
    await before.add_message("t1", "user", "x")
    log = await before.create_invocation_log(agent_name="planner")
    await before.close()
    assert await before.get_thread("t1"), "a database of one's own stays open"
    after = LimpetStore(reopened())
    assert await after.get_messages("t1") == await before.get_messages("t1")
    assert await after.list_invocation_logs() == [log]


@pytest.mark.parametrize("hostile", ["../../etc/passwd", "a/b!c@d", "ä 😀", "x" * 2000, "\n.\n", "'; --", ""])
async def test_hostile_ids_are_ids(store: LimpetStore, hostile: str) -> None:
    await store.create_thread(hostile, "u" + hostile, "a" + hostile)
    await store.add_message(hostile, hostile, hostile, metadata={hostile: hostile})
    await store.save_suspended_state(f"{hostile}1", hostile, "a", hostile, {hostile: hostile})
    await store.save_checkpoint(hostile, hostile, f"{hostile}1", None, {hostile: 1}, {})
    assert [thread["id"] for thread in await store.list_threads(user_id="u" + hostile)] == [hostile]
    assert (await store.get_messages(hostile))[0]["content"] == hostile
    assert await store.get_suspended_state(f"{hostile}1")
    assert await store.get_checkpoint(hostile, hostile, f"{hostile}1")
    assert await store.delete_thread(hostile)


@pytest.mark.parametrize("hostile", ["x" * 10_000, "lone \ud800 surrogate"])
async def test_ids_that_no_key_can_have_are_refused(store: LimpetStore, hostile: str) -> None:
    for call in (
        store.create_thread(hostile, "u", "a"),
        store.create_thread("t", hostile, "a"),
        store.create_invocation_log(agent_name="a", log_id=hostile),
        store.save_suspended_state(hostile, "t", "a", "n", {}),
        store.save_checkpoint(hostile, "", "c", None, {}, {}),
    ):
        with pytest.raises(LimpetError):
            await call
    assert await store.list_threads() == []


def test_no_database() -> None:
    with pytest.raises(ConfigurationError):
        LimpetStore(7)  # type: ignore[arg-type]
