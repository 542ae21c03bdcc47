"""`LimpetSaver` under real graphs: what LangGraph's own tests do not ask."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from limpet import ConflictError, create_persistence
from limpet.wrappers import encrypted
from limpet_adapters.langgraph import LimpetSaver


def url_of(folder: Path) -> str:
    return f"sqlite:///{(folder / 'agents.db').as_posix()}"


def graph_of(saver: LimpetSaver) -> Any:
    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", f"answer {len(state['messages'])} " + "x" * 500)]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def config_of(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def said(text: str) -> dict[str, Any]:
    return {"messages": [("user", text)]}


async def test_a_conversation_survives_its_process(tmp_path: Path) -> None:
    for turn in range(3):
        async with LimpetSaver.from_url(url_of(tmp_path)) as saver:
            state = await graph_of(saver).ainvoke(said(f"turn {turn}"), config_of("t"))
            assert len(state["messages"]) == 2 * (turn + 1)


def test_plain_calls_and_awaited_ones_see_the_same(tmp_path: Path) -> None:
    with LimpetSaver.from_url_sync(url_of(tmp_path)) as saver:
        graph = graph_of(saver)
        graph.invoke(said("plain"), config_of("t"))
        state = asyncio.run(graph.ainvoke(said("awaited"), config_of("t")))
        assert len(state["messages"]) == 4
        assert [each.checkpoint["id"] for each in saver.list(config_of("t"))] == asyncio.run(_ids(saver))
        with pytest.raises(ConflictError):
            saver.copy_thread("t", "t")
        saver.copy_thread("t", "copy")
        assert len(list(saver.list(config_of("copy")))) == 6
        saver.prune(["copy"])
        assert len(list(saver.list(config_of("copy")))) == 1
        assert len(graph.get_state(config_of("copy")).values["messages"]) == 4
        saver.delete_thread("copy")
        assert saver.get_tuple(config_of("copy")) is None
        saver.copy_thread("nobody", "else")


async def _ids(saver: LimpetSaver) -> list[str]:
    return [each.checkpoint["id"] async for each in saver.alist(config_of("t"))]


async def test_a_message_is_stored_once(tmp_path: Path) -> None:
    async with LimpetSaver.from_url(url_of(tmp_path)) as saver:
        graph = graph_of(saver)
        for turn in range(30):
            await graph.ainvoke({"messages": [("user", f"{turn} " + "y" * 1000)]}, config_of("t"))
    assert (tmp_path / "agents.db").stat().st_size < 12 * 30 * 1500, (
        "each checkpoint with all messages would be 45 times this"
    )


async def test_prune_keeps_more_where_asked(tmp_path: Path) -> None:
    async with LimpetSaver.from_url(url_of(tmp_path)) as saver:
        graph = graph_of(saver)
        for turn in range(3):
            await graph.ainvoke(said(str(turn)), config_of("t"))
        await saver.aprune(["t"], keep_last=4)
        assert len(await _ids(saver)) == 4
        await saver.aprune(["t"], strategy="delete")
        assert await _ids(saver) == []


async def test_late_writes_do_not_bring_a_deleted_thread_back(tmp_path: Path) -> None:
    async with LimpetSaver.from_url(url_of(tmp_path)) as saver:
        saved = await saver.aput(
            {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, empty_checkpoint(), {"source": "input"}, {}
        )
        await saver.adelete_thread("t")
        await saver.aput_writes(saved, [("channel", "late")], "task")
        assert await saver.aget_tuple(config_of("t")) is None
        assert [each async for each in saver.alist(None)] == []


async def test_metadata_may_hold_anything_and_is_filtered_by_it(tmp_path: Path) -> None:
    async with LimpetSaver.from_url(url_of(tmp_path)) as saver:
        metadata: Any = {"source": "input", "nested": {"a": [1]}, "binary": b"\0", "set": {1, 2}}
        await saver.aput({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, empty_checkpoint(), metadata, {})
        for filter in ({"nested": {"a": [1]}}, {"source": "input"}):
            (found,) = [each async for each in saver.alist(config_of("t"), filter=filter)]
            assert found.metadata.items() >= metadata.items()
        assert [each async for each in saver.alist(config_of("t"), filter={"source": "loop"})] == []
        assert [each async for each in saver.alist(config_of("t"), limit=0)] == []


async def test_both_kinds_of_encryption(tmp_path: Path) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(JsonPlusSerializer(), key=b"0123456789abcdef")
    async with LimpetSaver.from_url(url_of(tmp_path), serde=serde, wrappers=[encrypted(key="07" * 32)]) as saver:
        state = await graph_of(saver).ainvoke(said("a secret"), config_of("t"))
        assert state == (await graph_of(saver).aget_state(config_of("t"))).values
    assert b"a secret" not in (tmp_path / "agents.db").read_bytes()


async def test_a_database_of_ones_own_stays_open(tmp_path: Path) -> None:
    async with create_persistence(url_of(tmp_path)) as persistence:
        await graph_of(LimpetSaver(persistence)).ainvoke(said("x"), config_of("t"))
        assert await persistence.checkpoints.exists("t")
