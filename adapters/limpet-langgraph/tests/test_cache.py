"""`LimpetCache` under real graphs, and what the tests of LangGraph's caches do not ask."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy
from limpet import create_persistence, open_persistence
from limpet.driver import Put
from limpet_adapters.langgraph import LimpetCache, LimpetStore


class State(TypedDict):
    n: int
    doubled: int


def graph_of(cache: LimpetCache[Any], calls: list[int]) -> Any:
    def double(state: State) -> dict[str, int]:
        calls.append(state["n"])
        return {"doubled": 2 * state["n"]}

    builder = StateGraph(State)
    builder.add_node("double", double, cache_policy=CachePolicy(ttl=60))
    builder.add_edge(START, "double")
    builder.add_edge("double", END)
    return builder.compile(cache=cache)


def test_a_node_runs_once_for_the_same_input_even_in_another_process(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        with LimpetCache[Any].from_url_sync(f"sqlite:///{(tmp_path / 'cache.db').as_posix()}") as cache:
            graph = graph_of(cache, calls)
            assert graph.invoke({"n": 2})["doubled"] == 4
            assert asyncio.run(graph.ainvoke({"n": 2}))["doubled"] == 4
    assert calls == [2]
    with LimpetCache[Any].from_url_sync(f"sqlite:///{(tmp_path / 'cache.db').as_posix()}") as cache:
        graph_of(cache, calls).clear_cache()
        assert graph_of(cache, calls).invoke({"n": 2})["doubled"] == 4
    assert calls == [2, 2]


async def test_clearing_a_namespace_leaves_others_and_the_store() -> None:
    async with create_persistence("memory://") as persistence:
        cache: LimpetCache[Any] = LimpetCache(persistence)
        store = LimpetStore(persistence)
        await store.aput(("a",), "k", {"n": 1})
        keys = [(("a",), "k"), (("a", "b"), "k"), ((), "k"), (("c",), "x" * 3000)]
        await cache.aset({key: ([1, {"x"}], None) for key in keys})
        assert await cache.aget([*keys, (("a",), "nothing")]) == {key: [1, {"x"}] for key in keys}
        await cache.aclear([("a",)])
        assert set(await cache.aget(keys)) == set(keys[1:])
        await cache.aclear()
        assert await cache.aget(keys) == {}
        assert len(await store.asearch(())) == 1


async def test_an_entry_that_cannot_be_read_is_not_found(caplog: pytest.LogCaptureFixture) -> None:
    async with create_persistence("memory://") as persistence:
        cache: LimpetCache[Any] = LimpetCache(persistence)
        keys = [(("a",), f"k{n}") for n in range(4)]
        await cache.aset(dict.fromkeys(keys, (1, None)))
        at = persistence.kv(str, ("langgraph.cache", "a")).at
        await persistence.driver.apply([Put(at("k1"), b"\0"), Put(at("k2"), '["msgpack", "?"]')])
        with caplog.at_level(logging.WARNING, "limpet"):
            assert await cache.aget(keys) == {keys[0]: 1, keys[3]: 1}
        assert len(caplog.records) == 2


async def test_a_database_that_cannot_be_reached_costs_no_run(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []
    persistence = open_persistence("redis://127.0.0.1:1?timeout=0.2")
    graph = graph_of(LimpetCache(persistence), calls)
    with caplog.at_level(logging.WARNING, "limpet"):
        for _ in range(2):
            assert (await graph.ainvoke({"n": 3}))["doubled"] == 6
    await persistence.aclose()
    assert calls == [3, 3]
    assert any("cache" in record.getMessage() for record in caplog.records)
