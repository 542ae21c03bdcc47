"""`LimpetStore`: what LangGraph's own tests do not ask."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    NamespacePath,
    PutOp,
    SearchOp,
)
from limpet import InvalidKeyError, InvalidValueError, Persistence, create_persistence, open_persistence, sync
from limpet.driver import MemoryDriver
from limpet.wrappers import encrypted
from limpet_adapters.langgraph import LimpetSaver, LimpetStore
from limpet_conformance.faults import counted

NAMES = ["memory", "sqlite", "encrypted"]


def opened(name: str, folder: Path) -> Persistence:
    url = "memory://" if name == "memory" else f"sqlite:///{(folder / 'agents.db').as_posix()}"
    return open_persistence(url, wrappers=[encrypted(key="07" * 32)] if name == "encrypted" else [])


@pytest.fixture(params=NAMES)
def persistence(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = opened(request.param, tmp_path)
    yield made
    sync.Persistence.of(made).close()


@pytest.fixture
def store(persistence: Persistence) -> LimpetStore:
    return LimpetStore(persistence)


class Letters:
    """Embeddings by which letters a text has, and a count of how many texts it was asked for."""

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def __call__(self, texts: list[str]) -> list[list[float]]:
        self.embedded += texts
        return [[float(text.lower().count(chr(letter))) for letter in range(97, 123)] for text in texts]


def index_of(letters: Letters, **options: Any) -> Any:
    return {"dims": 26, "embed": letters, **options}


@pytest.mark.parametrize("name", ["sqlite", "encrypted"])
async def test_a_reopened_store_has_everything(name: str, tmp_path: Path) -> None:
    for turn in range(3):
        persistence = opened(name, tmp_path)
        store = LimpetStore(persistence, index=index_of(Letters()))
        await store.aput(("users", "ada"), f"m{turn}", {"text": "x" * turn}, ttl=60)
        assert [item.key for item in await store.asearch(("users",))].sort() == [
            f"m{n}" for n in range(turn + 1)
        ].sort()
        assert await store.alist_namespaces() == [("users", "ada")]
        await persistence.aclose()


def test_plain_calls_and_awaited_ones_from_many_loops_see_the_same(store: LimpetStore) -> None:
    store.put(("a",), "plain", {"n": 1})
    asyncio.run(store.aput(("a",), "awaited", {"n": 2}))
    assert asyncio.run(store.aget(("a",), "plain")) == store.get(("a",), "plain")
    assert {item.key for item in asyncio.run(store.asearch(("a",)))} == {"plain", "awaited"}
    assert {item.key for item in store.search(("a",))} == {"plain", "awaited"}
    store.delete(("a",), "awaited")
    assert asyncio.run(store.aget(("a",), "awaited")) is None


async def test_plain_calls_in_a_running_loop_return(store: LimpetStore) -> None:
    store.put(("a",), "k", {"n": 1})
    item = store.get(("a",), "k")
    assert item is not None
    assert item.value == {"n": 1}


async def test_a_store_on_the_loop_of_its_application() -> None:
    async with create_persistence("memory://") as persistence:
        store = LimpetStore(persistence)
        await store.aput(("a",), "k", {"n": 1})
        assert len(await store.asearch(())) == 1


async def test_writers_at_once_lose_nothing(store: LimpetStore) -> None:
    await asyncio.gather(*(store.aput(("a", str(n % 3)), f"k{n}", {"n": n}) for n in range(60)))
    assert len(await store.asearch(("a",), limit=100)) == 60
    await asyncio.gather(*(store.aput(("a", "0"), "same", {"n": n}) for n in range(30)))
    item = await store.aget(("a", "0"), "same")
    assert item is not None
    assert item.value["n"] in range(30)


async def test_a_batch_is_written_whole_and_its_last_put_counts(store: LimpetStore) -> None:
    await store.aput(("a",), "k", {"n": 0})
    results = await store.abatch(
        [
            PutOp(("a",), "k", {"n": 1}),
            GetOp(("a",), "k"),
            PutOp(("a",), "k", {"n": 2}),
            PutOp(("a",), "gone", {"n": 3}),
            PutOp(("a",), "gone", None),
        ]
    )
    assert results[1].value == {"n": 0}, "reads see nothing of the batch's writes"
    assert [item.key for item in await store.asearch(("a",))] == ["k"]
    for bad in ({"n": {1, 2}}, {"n": (1, 2)}, {1: 2}, ["n"], {"n": float("nan")}):
        with pytest.raises(ValueError):
            await store.abatch([PutOp(("a",), "k", {"n": 9}), PutOp(("a",), "bad", bad)])  # type: ignore[arg-type]
    item = await store.aget(("a",), "k")
    assert item is not None
    assert item.value == {"n": 2}, "nothing of a refused batch is written"


async def test_a_batch_that_is_too_large_for_the_driver_is_written_in_parts() -> None:
    async with MemoryDriver() as driver:
        driver.capabilities = driver.capabilities.__class__(max_writes=512, max_keys=512)
        async with create_persistence(driver) as persistence:
            store = LimpetStore(persistence)
            await store.abatch([PutOp(("a", str(n % 7)), f"k{n}", {"n": n}) for n in range(1200)])
            assert len(await store.asearch((), limit=2000)) == 1200
            await store.abatch([PutOp(("a", str(n % 7)), f"k{n}", None) for n in range(1200)])
            assert await store.asearch(()) == []


async def test_put_keeps_when_an_item_was_created(store: LimpetStore) -> None:
    await store.aput(("a",), "k", {"n": 1})
    first = await store.aget(("a",), "k")
    await asyncio.sleep(0.01)
    await store.aput(("a",), "k", {"n": 2})
    second = await store.aget(("a",), "k")
    assert first is not None
    assert second is not None
    assert second.created_at == first.created_at == first.updated_at < second.updated_at


LABELS = ["", "a.b", 5, None, "\ud800"]


@pytest.mark.parametrize("label", LABELS)
async def test_bad_labels_are_refused_before_anything_is_written(store: LimpetStore, label: Any) -> None:
    namespace = ("a", label)
    for ops in (
        [PutOp(("a",), "k", {"n": 1}), PutOp(namespace, "k", {"n": 1})],
        [GetOp(namespace, "k")],
        [SearchOp(namespace)],
        [ListNamespacesOp((MatchCondition("prefix", namespace),))],
    ):
        with pytest.raises((InvalidNamespaceError, InvalidKeyError)):
            await store.abatch(ops)
        with pytest.raises((InvalidNamespaceError, InvalidKeyError)):
            store.batch(ops)
    with pytest.raises(InvalidNamespaceError):
        await store.abatch([PutOp((), "k", {"n": 1})])
    assert await store.asearch(()) == []


@pytest.mark.parametrize(
    "put",
    [
        PutOp(("a",) * 30, "k", {}),
        PutOp(("x" * 200,) * 6, "k", {}),
        PutOp(("a",), "k" * 9000, {}),
        PutOp(("a",), 5, {}),  # type: ignore[arg-type]
        PutOp(("a",), "\ud800", {}),
        PutOp(("a",), "k", {"text": "\ud800"}),
        PutOp(("a",), "k", {"n": float("inf")}),
        PutOp(("a",), "k", {"n": b"1"}),
        PutOp(("a",), "k", {}, ttl=0),
        PutOp(("a",), "k", {}, ttl="5"),  # type: ignore[arg-type]
        PutOp(("a",), "k", {}, ttl=float("nan")),
    ],
)
async def test_what_cannot_be_stored_is_refused_with_its_whole_batch(store: LimpetStore, put: PutOp) -> None:
    with pytest.raises(ValueError):
        await store.abatch([PutOp(("ok",), "k", {}), put])
    with pytest.raises(ValueError):
        store.batch([PutOp(("ok",), "k", {}), put])
    assert await store.asearch(()) == []


@pytest.mark.parametrize("key", ["", "/", "a/b", "../x", "*", "ü", "x" * 5000, "a\nb", "langgraph"])
async def test_any_key_finds_only_itself(store: LimpetStore, key: str) -> None:
    await store.aput(("a", key.replace(".", "_") or "-"), key, {"n": 1})
    (item,) = await store.asearch(())
    assert (item.key, item.namespace) == (key, ("a", key.replace(".", "_") or "-"))
    assert await store.alist_namespaces() == [item.namespace]
    await store.adelete(item.namespace, key)
    assert await store.asearch(()) == []


async def test_an_application_keeps_its_own_namespaces(persistence: Persistence, store: LimpetStore) -> None:
    own = persistence.kv_tree(int)
    await own.kv(("users", "ada")).set("k", 1)
    await store.aput(("users", "ada"), "k", {"n": 1})
    assert len(await store.asearch(())) == 1
    assert await store.alist_namespaces() == [("users", "ada")]
    assert await own.kv(("users", "ada")).get("k") == 1


VALUES = {
    "a": {"n": 1, "s": "a", "on": True, "deep": {"x": 1, "tags": ["u", "v"]}},
    "b": {"n": 2.5, "s": "b", "on": False, "deep": {"x": 2, "tags": ["u"]}, "deep.x": 9},
    "c": {"n": "3", "s": None},
}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, "abc"),
        ({}, "abc"),
        ({"n": 1}, "a"),
        ({"n": {"$eq": 2.5}}, "b"),
        ({"n": {"$ne": 1}}, "bc"),
        ({"n": {"$gt": 1}}, "b"),
        ({"n": {"$gte": 1, "$lt": 2}}, "a"),
        ({"n": {"$lte": float("inf")}}, "ab"),
        ({"n": {"$gt": "2"}}, "c"),
        ({"s": {"$gt": "a"}}, "b"),
        ({"s": None}, "c"),
        ({"missing": None}, "abc"),
        ({"missing": {"$gt": 0}}, ""),
        ({"on": True}, "a"),
        ({"deep": {"x": 1}}, "a"),
        ({"deep": {"x": {"$gte": 1}, "tags": ["u"]}}, "b"),
        ({"deep": {"tags": ["u", "v"]}}, "a"),
        ({"deep.x": 1}, "a"),
        ({"deep.x": 9}, "b"),
        ({"n": 1, "s": "b"}, ""),
    ],
)
async def test_filters(store: LimpetStore, wanted: Any, expected: str) -> None:
    for key, value in VALUES.items():
        await store.aput(("a",), key, value)
    assert sorted(item.key for item in await store.asearch(("a",), filter=wanted)) == sorted(expected)
    for bad in ({"n": {"$near": 1}}, {"deep": {"x": {"$or": []}}}, ["n"]):
        with pytest.raises(ValueError, match=r"\$near|\$or|must be a dict"):
            await store.asearch(("nothing",), filter=bad)


async def test_pages_of_a_search_and_of_namespaces(store: LimpetStore) -> None:
    await store.abatch([PutOp(("a", f"{n:03}"), "k", {"n": n, "even": n % 2 == 0}) for n in range(450)])
    found = [item.value["n"] for at in range(0, 460, 150) for item in await store.asearch((), limit=150, offset=at)]
    assert sorted(found) == list(range(450))
    even = await store.asearch((), filter={"even": True}, limit=400, offset=200)
    assert len(even) == 25
    assert await store.asearch((), limit=0) == []
    listed = [each for at in range(0, 460, 100) for each in await store.alist_namespaces(limit=100, offset=at)]
    assert listed == [("a", f"{n:03}") for n in range(450)], "in order, on every database"
    assert await store.alist_namespaces(max_depth=1) == [("a",)]
    assert await store.alist_namespaces(limit=0) == []
    with pytest.raises(ValueError, match="offset"):
        await store.asearch((), offset=-1)


async def test_several_conditions_of_a_kind_all_hold(store: LimpetStore) -> None:
    for namespace in (("a", "b", "c"), ("a", "x", "c"), ("a", "b", "d"), ("b", "b", "c")):
        await store.aput(namespace, "k", {})

    def op(*conditions: tuple[Any, NamespacePath], **options: Any) -> ListNamespacesOp:
        return ListNamespacesOp(tuple(MatchCondition(kind, path) for kind, path in conditions), **options)

    many = op(("prefix", ("a",)), ("prefix", ("*", "b")), ("suffix", ("c",)))
    assert await store.abatch([many]) == [[("a", "b", "c")]]
    short = op(("prefix", ("a",)), ("prefix", ("*", "b")), max_depth=2)
    assert await store.abatch([short]) == [[("a", "b")]]
    pages = [
        op(("suffix", ("c",)), ("suffix", ("b", "*")), limit=1, offset=0),
        op(("suffix", ("c",)), ("suffix", ("b", "*")), limit=1, offset=1),
        op(("suffix", ("c",)), ("suffix", ("b", "*")), limit=1, offset=2),
    ]
    assert await store.abatch(pages) == [[("a", "b", "c")], [("b", "b", "c")], []]


async def test_reading_renews_what_expires_after_its_last_use(persistence: Persistence) -> None:
    store = LimpetStore(persistence, ttl={"default_ttl": 1.0 / 60})
    for key in ("read", "searched", "left", "kept"):
        await store.aput(("a",), key, {"key": key}, **({"ttl": None} if key == "kept" else {}))
    for _ in range(3):
        await asyncio.sleep(0.5)
        assert await store.aget(("a",), "read") is not None
        assert len(await store.asearch(("a",), filter={"key": "searched"})) == 1
        await store.asearch(("a",), filter={"key": "left"}, refresh_ttl=False)
    assert {item.key for item in await store.asearch((), refresh_ttl=False)} == {"read", "searched", "kept"}
    before = await store.aget(("a",), "read", refresh_ttl=False)
    await asyncio.sleep(0.2)
    assert await store.aget(("a",), "read") == before, "renewing changes neither the value nor the times"
    await asyncio.sleep(1.2)
    assert [item.key for item in await store.asearch(())] == ["kept"], "expired items are not returned before a sweep"
    assert await store.alist_namespaces() == [("a",)]
    assert await store.asweep_ttl() >= 0


def test_the_sweeper_frees_what_has_expired(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    with LimpetStore.from_url_sync(f"sqlite:///{path.as_posix()}", ttl={"sweep_interval_minutes": 1}) as store:
        store.put(("a",), "k", {"n": 1}, ttl=0.1 / 60)
        time.sleep(0.2)
        store.start_ttl_sweeper(0.2 / 60)
        store.start_ttl_sweeper()
        time.sleep(1)
        assert store.sweep_ttl() == 0, "it has swept"
        assert store.stop_ttl_sweeper()
        assert not store.stop_ttl_sweeper()


async def test_a_search_embeds_the_query_and_nothing_else(persistence: Persistence) -> None:
    letters = Letters()
    store = LimpetStore(persistence, index=index_of(letters, fields=["title", "parts[*].text"]))
    await store.aput(("a",), "zoo", {"title": "zzz", "parts": [{"text": "ab"}, {"text": "cd"}], "hidden": "qqq"})
    await store.aput(("a",), "abc", {"title": "aabb", "parts": []})
    await store.aput(("a",), "none", {"title": "zzz"}, index=False)
    await store.aput(("a",), "own", {"title": "q", "note": "zzzz"}, index=["note"])
    assert letters.embedded == ["zzz", "ab", "cd", "aabb", "zzzz"]
    letters.embedded.clear()
    found = await store.asearch(("a",), query="z")
    assert letters.embedded == ["z"]
    scores = [(item.key, item.score and round(item.score, 3)) for item in found]
    assert sorted(scores[:2]) == [("own", 1.0), ("zoo", 1.0)]
    assert scores[2:] == [("abc", 0.0), ("none", None)]
    assert [item.key for item in await store.asearch(("a",), query="cd", limit=1)] == ["zoo"], "its best part counts"
    assert [item.key for item in await store.asearch(("a",), query="z", limit=2, offset=2)] == ["abc", "none"]
    assert {item.key for item in store.search(("a",), query="z", filter={"title": "zzz"})} == {"zoo", "none"}
    plain = LimpetStore(persistence)
    assert len(await plain.asearch(("a",), query="z")) == 4, "without an index, the query is ignored"


async def test_a_reopened_index_embeds_nothing_again(tmp_path: Path) -> None:
    url = f"sqlite:///{(tmp_path / 'agents.db').as_posix()}"
    async with LimpetStore.from_url(url, index=index_of(Letters())) as store:
        await store.abatch([PutOp(("a",), f"k{n}", {"text": "ab" * (n + 1)}) for n in range(5)])
    letters = Letters()
    async with LimpetStore.from_url(url, index=index_of(letters)) as store:
        assert len(await store.asearch((), query="ab")) == 5
        assert letters.embedded == ["ab"]


async def test_an_embedding_of_another_size_is_refused_and_another_model_finds_without_scores(
    persistence: Persistence,
) -> None:
    store = LimpetStore(persistence, index=index_of(Letters()))
    await store.aput(("a",), "k", {"text": "abc"})
    other: Any = {"dims": 3, "embed": lambda texts: [[1.0, 2.0, 3.0] for _ in texts]}
    (item,) = await LimpetStore(persistence, index=other).asearch((), query="abc")
    assert (item.key, item.score) == ("k", None)
    wrong: Any = {"dims": 4, "embed": other["embed"]}
    with pytest.raises(InvalidValueError, match="3 dimensions, but the index has dims=4"):
        await LimpetStore(persistence, index=wrong).aput(("a",), "k", {"text": "new"})
    assert (await store.asearch(()))[0].value == {"text": "abc"}


async def test_what_each_operation_costs() -> None:
    async with MemoryDriver() as driver, create_persistence(driver) as persistence:
        store = LimpetStore(persistence)
        for call, expected in (
            (lambda: store.aput(("a",), "k", {"n": 1}), (1, 1, 0)),
            (lambda: store.aget(("a",), "k"), (0, 1, 0)),
            (lambda: store.asearch(("a",)), (0, 0, 1)),
            (lambda: store.alist_namespaces(), (0, 0, 1)),
            (lambda: store.adelete(("a",), "k"), (1, 0, 0)),
            (lambda: store.abatch([PutOp(("a",), f"k{n}", {"n": n}) for n in range(50)]), (1, 1, 0)),
            (lambda: store.abatch([GetOp(("a",), f"k{n}") for n in range(50)]), (0, 1, 0)),
        ):
            with counted(driver) as counts:
                await call()
            assert (counts.commits, counts.fetches, counts.lists) == expected


async def test_a_graph_remembers_across_threads(persistence: Persistence) -> None:
    async def remember(state: MessagesState, runtime: Runtime[None]) -> dict[str, Any]:
        assert runtime.store is not None
        known = await runtime.store.asearch(("facts",))
        await runtime.store.aput(("facts",), f"f{len(known)}", {"text": state["messages"][-1].content})
        return {"messages": [("ai", f"I know {len(known)} facts")]}

    builder = StateGraph(MessagesState)
    builder.add_node("remember", remember)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", END)
    saver = LimpetSaver(persistence)
    graph = builder.compile(checkpointer=saver, store=LimpetStore(saver.persistence))
    for turn in range(3):
        config: Any = {"configurable": {"thread_id": f"t{turn}"}}
        state = await graph.ainvoke({"messages": [("user", f"fact {turn}")]}, config)
        assert state["messages"][-1].content == f"I know {turn} facts"
