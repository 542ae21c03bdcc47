"""Plain storage, on every driver: what unstorage promises, and what hurts there."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import pytest
from limpet import (
    ConfigurationError,
    ConflictError,
    InvalidKeyError,
    InvalidValueError,
    NotFoundError,
    Storage,
    TooLargeError,
    create_storage,
)
from limpet.driver import MemoryDriver

FAITHFUL: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    10**30,
    1.0,
    1e22,
    0.1,
    "",
    "123",
    "1e5",
    "true",
    "null",
    " 5 ",
    '"q"',
    '{"a":1}',
    "base64:YQ==",
    "#limpet {}",
    "\x00",
    "😀",
    [],
    {},
    {"a": [1, {"b": None}], "": ""},
    b"",
    b"\x00\xff",
    b"#limpet \n",
]


async def keys(storage: Storage, base: str = "") -> list[str]:
    found = [key async for key in storage.get_keys(base)]
    return found if storage.driver.capabilities.text_order else sorted(found)


@pytest.mark.parametrize("value", FAITHFUL, ids=repr)
async def test_values_come_back_as_they_went_in(storage: Storage, value: Any) -> None:
    set_it = storage.set_item_raw if isinstance(value, bytes) else storage.set_item
    await set_it("key", value)
    found = await storage.get_item("key")
    assert found == value
    assert type(found) is type(value)
    assert await storage.has_item("key")


@pytest.mark.parametrize(
    "value", [(1,), {1: 2}, {1, 2}, ..., timedelta(1), b"x", {"a": (1,)}, [b"x"], "\ud800"], ids=repr
)
async def test_values_that_would_change_are_refused(storage: Storage, value: Any) -> None:
    with pytest.raises(InvalidValueError):
        await storage.set_item("key", value)
    assert not await storage.has_item("key")


async def test_nan_stays_nan(storage: Storage) -> None:
    await storage.set_item("key", [math.nan, math.inf])
    nan, inf = await storage.get_item("key")
    assert math.isnan(nan)
    assert inf == math.inf


async def test_keys_are_never_cut_or_merged(storage: Storage) -> None:
    awkward = [
        "a",
        "a:b",
        "a/b",
        "a\\b",
        "a::b",
        ":a",
        "a:",
        "a?b",
        "a?c",
        "a:..:b",
        "../x",
        "A",
        "a$",
        "x" * 600,
        "é",
        "e\u0301",
    ]
    awkward += [
        "foo",
        "foo:bar",
        "foobar",
        "*",
        "[a]",
        "%41",
        ".",
        "..",
        "con",
        "a b",
        " ",
        "😀:😀",
        "null",
        "a.json",
        "a.json:b",
    ]
    for n, key in enumerate(awkward):
        await storage.set_item(key, n)
    for n, key in enumerate(awkward):
        assert await storage.get_item(key) == n, key
    assert sorted(await keys(storage)) == sorted(awkward)
    assert sorted(await keys(storage, "a")) == sorted(key for key in awkward if key.startswith("a:"))
    assert await keys(storage, "foo") == ["foo:bar"]
    for bad in ("", None, 5, "\ud800"):
        with pytest.raises(InvalidKeyError):
            await storage.set_item(bad, 1)  # type: ignore[arg-type]


async def test_clear_clears_exactly_the_base(storage: Storage) -> None:
    for key in ("foo", "foo:bar", "foo:baz:deep", "foobar", "fo", "goo:foo:x"):
        await storage.set_item(key, 1)
    assert await storage.clear("foo") == 2
    assert await keys(storage) == ["fo", "foo", "foobar", "goo:foo:x"]
    assert await storage.with_prefix("goo").clear("foo") == 1
    assert await storage.clear() == 3
    assert await keys(storage) == []
    (manifest,) = await storage.driver.get(["manifest"])
    assert manifest is not None, "what is not the storage's stays"


async def test_ttl(storage: Storage) -> None:
    await storage.set_item("a", 1, ttl=0.15)
    await storage.set_item("b", 1, ttl=timedelta(hours=1))
    await storage.set_items({"c": 1, "d": 2}, ttl=0.15)
    meta = await storage.get_meta("b")
    assert meta is not None
    assert meta.ttl is not None
    assert 3590 < meta.ttl <= 3600
    await storage.set_meta("b", {"x": 1})
    meta = await storage.get_meta("b")
    assert meta is not None
    assert meta.ttl is not None, "metadata leaves the expiry alone"
    await asyncio.sleep(0.2)
    assert await keys(storage) == ["b"]
    assert await storage.get_item("a") is None
    await storage.set_item("b", 2)
    meta = await storage.get_meta("b")
    assert meta is not None
    assert meta.ttl is None
    for bad in (0, -1, timedelta(0), True, "1", math.nan):
        with pytest.raises(ValueError, match="ttl"):
            await storage.set_item("e", 1, ttl=bad)  # type: ignore[arg-type]


async def test_conditions(storage: Storage) -> None:
    etag = await storage.set_item("a", 1, if_absent=True)
    with pytest.raises(ConflictError):
        await storage.set_item("a", 2, if_absent=True)
    second = await storage.set_item("a", 2, if_match=etag)
    with pytest.raises(ConflictError):
        await storage.set_item_raw("a", b"3", if_match=etag)
    with pytest.raises(ConflictError):
        await storage.remove_item("a", if_match=etag)
    meta = await storage.get_meta("a")
    assert meta is not None
    assert meta.etag == second
    with pytest.raises(InvalidValueError):
        await storage.set_item("a", 1, if_match=second, if_absent=True)
    assert await storage.remove_item("a", if_match=second)
    assert not await storage.remove_item("a")


async def test_batches(storage: Storage) -> None:
    await storage.set_items({f"k{n}": n for n in range(300)})
    assert await storage.get_items(["k7", "no", "k3", "k7"]) == {"k7": 7, "no": None, "k3": 3}
    assert len(await keys(storage)) == 300
    with pytest.raises(InvalidValueError):
        await storage.set_items({"new": 1, "bad": object()})
    assert not await storage.has_item("new")
    limit = storage.driver.capabilities.max_writes
    many = {f"m{n}": n for n in range(limit + 1)}
    with pytest.raises(TooLargeError, match="atomic=False"):
        await storage.set_items(many)


async def test_metadata_lives_and_dies_with_its_item(storage: Storage) -> None:
    assert await storage.get_meta("a") is None
    with pytest.raises(NotFoundError):
        await storage.set_meta("a", {})
    await storage.set_item("a", 1, meta={"by": "me"})
    meta = await storage.get_meta("a")
    assert meta is not None
    assert meta.data == {"by": "me"}
    await storage.remove_meta("a")
    meta = await storage.get_meta("a")
    assert meta is not None
    assert meta.data == {}
    await storage.set_item_raw("raw", b"#limpet {", meta={"x": [1]})
    assert await storage.get_item_raw("raw") == b"#limpet {"
    await storage.set_item("a$", "a key that ends with $")
    assert await keys(storage) == ["a", "a$", "raw"]
    await storage.set_item("a", 2)
    assert await storage.get_item_raw("a") == b"2"
    assert await storage.get_item_raw("no") is None
    await storage.remove_item("raw")
    assert await storage.get_meta("raw") is None


async def test_prefixes_and_mounts_compose(storage: Storage) -> None:
    users = storage.with_prefix("app").with_prefix("users")
    await users.set_item("alice", 1)
    assert await storage.get_item("app:users:alice") == 1
    await storage.set_item("app:users:cache:hidden", "below the mount")
    await users.mount("cache", "memory://")
    with pytest.raises(ConfigurationError, match="already"):
        await storage.mount("app:users:cache", MemoryDriver())
    await users.set_item("cache:x", 2)
    await users.set_item("zoe", 3)
    assert await storage.get_item("app:users:cache:x") == 2
    assert await keys(storage) == ["app:users:alice", "app:users:cache:x", "app:users:zoe"]
    assert await keys(storage.with_prefix("app:users:cache")) == ["x"]
    assert list(storage.get_mounts()) == ["", "app:users:cache"]
    assert list(users.get_mounts()) == ["cache"]
    assert await users.clear() == 3
    with pytest.raises(NotFoundError):
        await storage.unmount("nowhere")
    await users.unmount("cache")
    assert await keys(storage) == ["app:users:cache:hidden"]


async def test_watchers_see_batches_and_clear(storage: Storage) -> None:
    seen: list[tuple[str, str]] = []
    users: list[tuple[str, str]] = []
    unwatch = await storage.watch(lambda event, key: seen.append((event, key)))

    async def slowly(event: str, key: str) -> None:
        users.append((event, key))

    await storage.with_prefix("users").watch(slowly)
    await storage.set_items({"users:a": 1, "b": 2})
    await storage.remove_item("b")
    await storage.remove_item("never existed")
    await asyncio.sleep(0.05)
    await storage.clear()
    await asyncio.sleep(0.05)
    assert {("update", "users:a"), ("remove", "b"), ("remove", "users:a")} <= set(seen)
    assert not any(key == "never existed" for _, key in seen)
    assert users == [("update", "a"), ("remove", "a")]
    await unwatch()
    count = len(seen)
    await storage.set_item("users:c", 1)
    await asyncio.sleep(0.05)
    assert len(seen) == count
    assert users[-1] == ("update", "c")
    await storage.unwatch()
    await storage.set_item("users:d", 1)
    await asyncio.sleep(0.02)
    assert users[-1] == ("update", "c")


async def test_a_watch_that_raises_breaks_nobody_else(storage: Storage) -> None:
    heard: list[str] = []
    handled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: handled.append(context["message"]))

    def broken(event: str, key: str) -> None:
        raise ZeroDivisionError

    await storage.watch(broken)
    await storage.watch(lambda event, key: heard.append(key))
    await storage.set_item("a", 1)
    await storage.set_item("b", 1)
    await asyncio.sleep(0.05)
    assert heard == ["a", "b"]
    assert handled == ["a watch of 'a' raised", "a watch of 'b' raised"]


async def test_snapshots(storage: Storage) -> None:
    content = {"a": 1, "b:c": {"x": None}, "raw": b"\x00", "y" * 500: "long"}
    for key, value in content.items():
        await (storage.set_item_raw(key, value) if isinstance(value, bytes) else storage.set_item(key, value))
    snapshot = await storage.snapshot()
    assert snapshot == content
    await storage.restore_snapshot(snapshot, "copy")
    assert await storage.snapshot("copy") == content
    await storage.set_item("copy:extra", 1)
    await storage.restore_snapshot(snapshot, "copy", replace=True)
    assert await storage.snapshot("copy") == content


async def test_concurrent_sets_all_arrive(storage: Storage) -> None:
    await asyncio.gather(*(storage.set_item(f"k{n}", n) for n in range(200)))
    found = await asyncio.gather(*(storage.get_item(f"k{n}") for n in range(200)))
    assert found == list(range(200))


async def test_what_was_stored_is_there_after_reopening(lasting_url: str) -> None:
    async with create_storage(lasting_url) as storage:
        await storage.set_item("a", {"x": "123"})
        await storage.set_item_raw("b", b"\x00")
    async with create_storage(lasting_url) as storage:
        assert await storage.snapshot() == {"a": {"x": "123"}, "b": b"\x00"}
