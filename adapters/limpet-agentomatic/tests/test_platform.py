"""A real platform on `LimpetStore`, several processes at once, and event loops: the store as a platform uses it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from agentomatic.storage import AgentomaticCheckpointer
from limpet import UnavailableError, create_persistence, open_persistence
from limpet.wrappers import encrypted
from limpet_adapters.agentomatic import LimpetStore

EXAMPLE = Path(__file__).parents[3] / "examples/frameworks/agentomatic_platform.py"
SAID = ["You said: a train to Trieste", "202", "['pay']", "Paid: pay 59 euros", "Trip 2"]


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder.as_posix()}/a.db"


async def test_the_example(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), url_of(tmp_path)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert ([line for line in done.stdout.splitlines() if line in SAID], done.returncode) == (SAID, 0), done.stderr
    async with create_persistence(url_of(tmp_path)) as persistence:
        logs = await LimpetStore(persistence).list_invocation_logs(agent_name="clerk")
        assert [log["status"] for log in logs] == ["suspended", "ok"]
        assert await persistence.approvals.list() == []


def test_two_event_loops_use_one_store_and_it_opens_again(tmp_path: Path) -> None:
    store = LimpetStore(url_of(tmp_path))
    asyncio.run(store.initialize())
    asyncio.run(store.create_thread("t1", "ada", "planner"))
    asyncio.run(store.add_message("t1", "user", "x"))
    asyncio.run(store.close())
    asyncio.run(store.close())
    assert len(asyncio.run(store.get_messages("t1"))) == 1, "as Agentomatic's own, it may be used after close"
    asyncio.run(store.close())


async def test_stores_of_a_url_share_a_database(tmp_path: Path) -> None:
    one, two = LimpetStore(url_of(tmp_path)), LimpetStore(url_of(tmp_path))
    assert one.persistence is two.persistence
    await one.create_thread("t1", "ada", "planner")
    await one.close()
    assert await two.get_thread("t1")
    await two.close()


WRITER = """
import asyncio, sys
from limpet_adapters.agentomatic import LimpetStore

async def main(url, name):
    store = LimpetStore(url)
    for n in range(20):
        await store.add_message("t1", "user", f"{name}{n}")
        await store.save_checkpoint("t1", "", "same", None, {"by": name}, {})
        await store.create_invocation_log(agent_name=name)
    print(sum([await store.delete_suspended_state(f"a{n}") for n in range(20)]))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    store = LimpetStore(url_of(tmp_path))
    await store.create_thread("t1", "ada", "planner")
    for n in range(20):
        await store.save_suspended_state(f"a{n}", "t1", "planner", "pay", {})
    command = [sys.executable, "-c", WRITER, url_of(tmp_path)]
    pipe = asyncio.subprocess.PIPE
    writers = [await asyncio.create_subprocess_exec(*command, name, stdout=pipe) for name in ("a", "b", "c")]
    won = [int((await writer.communicate())[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sum(won) == 20, "each suspended state was deleted by exactly one"
    messages = await store.get_messages("t1")
    assert {message["content"] for message in messages} == {f"{name}{n}" for name in "abc" for n in range(20)}
    assert [message["id"] for message in messages] == list(range(1, 61))
    assert (await store.get_thread("t1") or {})["message_count"] == 60
    assert len(await store.list_checkpoints("t1", "")) == 1
    assert await store.count_invocation_logs(agent_name="b") == 20
    await store.close()


async def test_encrypted(tmp_path: Path) -> None:
    persistence = open_persistence(url_of(tmp_path), wrappers=[encrypted(key="07" * 32)])
    store = LimpetStore(persistence)
    await store.create_thread("t1", "canary", "canary", title="canary")
    await store.add_message("t1", "user", "canary")
    await store.create_invocation_log(agent_name="canary", input_data={"x": "canary"})
    await store.save_suspended_state("a1", "t1", "canary", "pay", {"x": "canary"})
    assert [thread["id"] for thread in await store.list_threads(user_id="canary")] == ["t1"]
    assert await store.count_invocation_logs(agent_name="canary") == 1
    await persistence.aclose()
    assert b"canary" not in (tmp_path / "a.db").read_bytes()


async def test_a_server_that_does_not_respond() -> None:
    store = LimpetStore("postgresql://127.0.0.1:1/agents?connect_timeout=1")
    found = await store.health_check()
    assert (found["status"], found["backend"]) == ("unhealthy", "LimpetStore")
    with pytest.raises(UnavailableError):
        await store.initialize()
    await store.close()


async def test_what_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMPET_URL", url_of(tmp_path))
    store = LimpetStore(None)
    await store.create_thread("t1", "ada", "planner")
    await store.close()
    assert (tmp_path / "a.db").exists()


async def test_agentomatics_checkpointer(tmp_path: Path) -> None:
    from langchain_core.messages import HumanMessage

    store = LimpetStore(url_of(tmp_path))
    checkpointer = AgentomaticCheckpointer(store)
    config = {"configurable": {"thread_id": "t1", "checkpoint_ns": "", "checkpoint_id": "c1"}}
    checkpoint = {"v": 1, "id": "c1", "ts": "now", "channel_values": {"messages": [HumanMessage("x")]}}
    await checkpointer.aput(config, checkpoint, {"source": "input", "step": 1}, {})
    found = await checkpointer.aget_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"]["messages"] == [HumanMessage("x")]
    assert checkpointer.get_tuple(config) == found, "from another event loop"
    await store.close()
