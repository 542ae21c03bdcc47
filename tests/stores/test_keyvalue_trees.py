"""Namespaces that form a tree, on every driver."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from limpet import (
    CorruptDataError,
    InvalidCursorError,
    InvalidKeyError,
    InvalidValueError,
    LimpetError,
    Persistence,
    TooLargeError,
)
from limpet.driver import MemoryDriver, Put
from limpet.stores import KeyValueTree, NewEntry
from limpet_conformance.faults import counted

HOSTILE = ["a/b", "..", "a!b", "*x", "#00", "ü", "日本", " ", "x" * 400, 'a"b', "@", "kv.tree"]


@pytest.fixture
def tree(persistence: Persistence) -> KeyValueTree[Any]:
    return persistence.kv_tree(object)


async def fill(tree: KeyValueTree[Any], *namespaces: tuple[str, ...], keys: int = 1) -> None:
    await tree.write([NewEntry(namespace, f"k{n}", {"n": n}) for namespace in namespaces for n in range(keys)])


async def test_a_namespace_of_labels_is_a_store_like_any_other(
    persistence: Persistence, tree: KeyValueTree[Any]
) -> None:
    users = persistence.kv(int, ("users", "u1"))
    await users.set("k", 1, ttl=60)
    assert await users.get("k") == 1
    assert await users.update("k", lambda n: n + 1) == 2
    assert dict(await users.list()) == {"k": 2}
    assert await users.keys() == ["k"]
    (entry,) = await tree.kv(["users", "u1"]).entries()
    assert (entry.namespace, entry.key, entry.value) == (("users", "u1"), "k", 2)
    for other in ("users", ("users",), ("users", "u1", "x"), ("u1", "users"), "users!u1"):
        assert dict(await persistence.kv(int, other).list()) == {}, "others have nothing"
    assert await users.clear() == 1


@pytest.mark.parametrize(
    "bad", [(), ("a", ""), ("a", 5), 5, None, b"ab", ("\ud800",), ("a",) * 31, ("x" * 200, "y" * 200, "z" * 200) * 2]
)
async def test_what_is_no_namespace_is_refused(persistence: Persistence, tree: KeyValueTree[Any], bad: Any) -> None:
    with pytest.raises(InvalidKeyError):
        await persistence.kv(int, bad).set("k", 1)
    with pytest.raises(LimpetError):
        await tree.write([NewEntry(bad, "k", 1), NewEntry(("good",), "k", 1)])
    assert [each async for each in tree.namespaces()] == []


async def test_any_text_is_a_label_and_finds_only_itself(persistence: Persistence, tree: KeyValueTree[Any]) -> None:
    namespaces = [(label,) for label in HOSTILE] + [("a", label) for label in HOSTILE]
    for n, namespace in enumerate(namespaces):
        for key in ("", "k", namespace[-1]):
            await persistence.kv(int, namespace).set(key, n)
    assert sorted([each async for each in tree.namespaces()]) == sorted(namespaces)
    for n, namespace in enumerate(namespaces):
        assert set((await persistence.kv(int, namespace).get_many(["", "k", namespace[-1]])).values()) == {n}
    assert {entry.value for entry in await tree.entries(("a",))} == set(range(len(HOSTILE), 2 * len(HOSTILE)))
    assert await tree.clear(("a",)) == sum(len({"", "k", label}) for label in HOSTILE)
    assert sorted(await tree.namespaces()) == sorted((label,) for label in HOSTILE)


NAMESPACES = [
    ("docs",),
    ("docs", "a", "v1"),
    ("docs", "a", "v2"),
    ("docs", "b", "v1"),
    ("docs", "b", "v1", "old"),
    ("users", "u1", "prefs"),
    ("users", "u2", "prefs"),
    ("users", "u2", "v1"),
]


async def test_entries_are_those_of_the_prefix_and_below(tree: KeyValueTree[Any]) -> None:
    await fill(tree, *NAMESPACES, ("docs2",), keys=3)
    found = [entry async for entry in tree.entries(("docs",))]
    assert sorted((entry.namespace, entry.key) for entry in found) == [
        (namespace, f"k{n}") for namespace in NAMESPACES[:5] for n in range(3)
    ]
    assert len([entry async for entry in tree.entries()]) == 27
    page = await tree.entries(("docs", "b"), limit=4)
    rest = await tree.entries(("docs", "b"), cursor=page.cursor)
    assert [*page, *rest] != []
    assert len({(entry.namespace, entry.key) for entry in [*page, *rest]}) == 6
    assert await tree.entries(("nothing",)) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, NAMESPACES),
        ({"prefix": ("docs",)}, NAMESPACES[:5]),
        ({"prefix": ("docs", "a")}, NAMESPACES[1:3]),
        ({"prefix": ("doc",)}, []),
        ({"prefix": ("*", "u2")}, NAMESPACES[6:]),
        ({"prefix": ("docs", "*", "v1")}, [NAMESPACES[1], NAMESPACES[3], NAMESPACES[4]]),
        ({"suffix": ("v1",)}, [NAMESPACES[1], NAMESPACES[3], NAMESPACES[7]]),
        ({"suffix": ("*", "prefs")}, NAMESPACES[5:7]),
        ({"prefix": ("users",), "suffix": ("prefs",)}, NAMESPACES[5:7]),
        ({"max_depth": 1}, [("docs",), ("users",)]),
        ({"max_depth": 2}, [("docs",), ("docs", "a"), ("docs", "b"), ("users", "u1"), ("users", "u2")]),
        ({"suffix": ("old",), "max_depth": 2}, [("docs", "b")]),
        ({"prefix": ("users",), "suffix": ("v1",), "max_depth": 1}, [("users",)]),
        ({"prefix": ("a", "b", "c", "d", "e")}, []),
    ],
)
async def test_namespaces(tree: KeyValueTree[Any], options: dict[str, Any], expected: list[tuple[str, ...]]) -> None:
    await fill(tree, *NAMESPACES, keys=20)
    listed = [each async for each in tree.namespaces(**options)]
    assert sorted(listed) == expected
    assert len(listed) == len(set(listed))
    paged: list[tuple[str, ...]] = []
    cursor = None
    while True:
        page = await tree.namespaces(**options, limit=1, cursor=cursor)
        paged += page
        cursor = page.cursor
        if cursor is None:
            break
    assert paged == listed


async def test_in_the_order_of_the_labels_where_text_has_an_order(
    persistence: Persistence, tree: KeyValueTree[Any]
) -> None:
    if not persistence.driver.capabilities.text_order:
        pytest.skip("this database has another order")
    namespaces = [("a",), ("a", "!"), ("a", "b"), ("a", "b", "c"), ("a ",), ("a!",), ("a0",), ("b",)]
    await fill(tree, *namespaces)
    assert await tree.namespaces() == namespaces
    assert [entry.namespace for entry in await tree.entries()] == namespaces


async def test_a_namespace_without_values_is_gone(tree: KeyValueTree[Any]) -> None:
    await tree.write([NewEntry(("a", "b"), "k", 1), NewEntry(("a", "gone"), "k", 1, ttl=0.01)])
    await asyncio.sleep(0.1)
    assert await tree.namespaces() == [("a", "b")]
    await tree.write(delete=[(("a", "b"), "k"), (("a", "b"), "nothing")])
    assert await tree.namespaces() == []


async def test_a_batch_is_written_whole_and_keeps_times(tree: KeyValueTree[Any]) -> None:
    await tree.write([NewEntry(("a",), "k", 1, ttl=60), NewEntry(("b", "c"), "k", 1), NewEntry(("b", "c"), "l", 1)])
    before = await tree.get_entries([(("a",), "k"), (("b", "c"), "k"), (("b", "c"), "l"), (("x",), "k")])
    await asyncio.sleep(0.01)
    await tree.write(
        [NewEntry(("a",), "k", 2), NewEntry(("b", "c"), "k", 0), NewEntry(["b", "c"], "k", 3)],
        delete=[(("b", "c"), "l"), (("a",), "k")],
    )
    after = await tree.get_entries([(("a",), "k"), (("b", "c"), "k"), (("b", "c"), "l")])
    assert [entry and entry.value for entry in before] == [1, 1, 1, None]
    assert [entry and entry.value for entry in after] == [2, 3, None], "the last one counts, and a deletion comes first"
    for old, new in zip(before[:2], after[:2], strict=True):
        assert old is not None
        assert new is not None
        assert new.created_at == old.created_at < new.updated_at
        assert new.ttl is None
    with pytest.raises(InvalidValueError):
        await tree.write([NewEntry(("a",), "k", 9), NewEntry(("a",), "bad", {1, 2})])
    with pytest.raises(InvalidValueError, match="ttl"):
        await tree.write([NewEntry(("a",), "k", 9, ttl=-1)])
    assert await tree.kv(("a",)).get("k") == 2, "nothing was written"
    await tree.write()


async def test_too_much_for_one_batch_is_refused_whole() -> None:
    async with MemoryDriver() as driver:
        tree = KeyValueTree(driver, int)
        many = driver.capabilities.max_writes + 1
        with pytest.raises(TooLargeError):
            await tree.write(delete=[(("a",), str(n)) for n in range(many)])
        assert await tree.namespaces() == []


async def test_touching_many_renews_those_that_are_there(tree: KeyValueTree[Any]) -> None:
    await fill(tree, ("a",), ("b", "c"))
    assert await tree.touch({(("a",), "k0"): 60, (("b", "c"), "k0"): None, (("b", "c"), "nothing"): 5}) == 2
    assert await tree.touch({}) == 0
    assert 50 < (await tree.kv(("a",)).ttl("k0") or 0) <= 60
    assert await tree.kv(("b", "c")).ttl("k0") is None


async def test_writers_at_once_lose_nothing(tree: KeyValueTree[Any]) -> None:
    await asyncio.gather(
        *(tree.write([NewEntry(("n",), f"own{n}", n), NewEntry(("n",), "shared", n)]) for n in range(20))
    )
    values = {entry.key: entry.value for entry in await tree.entries()}
    assert {key: value for key, value in values.items() if key != "shared"} == {f"own{n}": n for n in range(20)}
    assert values["shared"] in range(20)


async def test_clear_empties_a_branch_only(tree: KeyValueTree[Any]) -> None:
    await fill(tree, *NAMESPACES)
    assert await tree.clear(("docs", "b")) == 2
    assert sorted(await tree.namespaces()) == [*NAMESPACES[:3], *NAMESPACES[5:]]
    assert await tree.clear() == 6


async def test_cursors_belong_to_their_query(tree: KeyValueTree[Any]) -> None:
    await fill(tree, *NAMESPACES)
    cursor = (await tree.namespaces(limit=1)).cursor
    for others in ({"prefix": ("docs",)}, {"max_depth": 1}, {"suffix": ("v1",)}):
        with pytest.raises(InvalidCursorError):
            await tree.namespaces(**others, cursor=cursor)
    with pytest.raises(InvalidCursorError):
        await tree.entries(cursor=cursor)
    with pytest.raises(InvalidValueError):
        tree.namespaces(max_depth=0)


async def test_listing_namespaces_reads_few_keys_of_each() -> None:
    async with MemoryDriver() as driver:
        tree = KeyValueTree(driver, int)
        await tree.write([NewEntry(("large", str(n)), f"k{k}", k) for n in range(5) for k in range(500)])
        await tree.write([NewEntry(("small", f"{n:03}"), "k", n) for n in range(160)])
        with counted(driver) as counts:
            assert len([each async for each in tree.namespaces(("large",))]) == 5
        assert (counts.lists, counts.fetches) == (6, 0)
        assert counts.items <= 5 * 16
        with counted(driver) as counts:
            assert len([each async for each in tree.namespaces(("small",))]) == 160
        assert counts.lists <= 11
        with counted(driver) as counts:
            assert await tree.namespaces(max_depth=1) == [("large",), ("small",)]
        assert (counts.lists, counts.items) == (3, 32)


async def test_damage_is_found_out() -> None:
    async with MemoryDriver() as driver:
        tree = KeyValueTree(driver, int)
        await tree.write([NewEntry(("a",), "k", 1)])
        await driver.apply([Put("kv.tree!@a!@b", "1")])
        for call in (tree.namespaces(), tree.entries()):
            with pytest.raises(CorruptDataError, match="not a record"):
                await call
        assert [each.value async for each in tree.entries().skip_unreadable(lambda error: None)] == [1]
        await driver.apply([Put(tree.kv(("a",)).at("k"), "#limpet {")])
        with pytest.raises(CorruptDataError):
            await tree.entries(("a",))
        await tree.write([NewEntry(("a",), "k", 2)])
        assert await tree.kv(("a",)).get("k") == 2, "writing over it repairs it"
