"""The rules of py-key-value's protocols."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from key_value.aio import errors
from key_value.aio.adapters.pydantic import PydanticAdapter
from key_value.aio.protocols import key_value as protocols
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper
from limpet import InvalidKeyError, Persistence
from limpet.driver import Put, Range
from limpet_adapters.key_value import LimpetKeyValue
from proof.databases import Database
from pydantic import AnyHttpUrl, BaseModel


@pytest.fixture
async def persistence(database: Database) -> AsyncIterator[Persistence]:
    async with database.open() as opened:
        yield opened


@pytest.fixture
def store(persistence: Persistence) -> LimpetKeyValue:
    return LimpetKeyValue(persistence)


def test_it_has_every_protocol(store: LimpetKeyValue) -> None:
    whole: protocols.AsyncKeyValue = store  # for mypy
    for protocol in (
        protocols.AsyncKeyValueProtocol,
        protocols.AsyncCullProtocol,
        protocols.AsyncEnumerateKeysProtocol,
        protocols.AsyncEnumerateCollectionsProtocol,
        protocols.AsyncDestroyStoreProtocol,
        protocols.AsyncDestroyCollectionProtocol,
    ):
        assert isinstance(whole, protocol)


async def test_the_way_of_a_value(store: LimpetKeyValue) -> None:
    assert (await store.get("k"), await store.ttl("k"), await store.delete("k")) == (None, (None, None), False)
    await store.put("k", {"a": 1})
    await store.put("k", {"b": 2})
    assert (await store.get("k"), await store.ttl("k")) == ({"b": 2}, ({"b": 2}, None))
    assert (await store.delete("k"), await store.delete("k"), await store.get("k")) == (True, False, None)


async def test_collections_are_apart_and_no_collection_is_the_default_one(
    store: LimpetKeyValue, persistence: Persistence
) -> None:
    other = LimpetKeyValue(persistence, namespace="other", default_collection="mine")
    await store.put("k", {"n": 1})
    await store.put("k", {"n": 2}, collection="c")
    await other.put("k", {"n": 3})
    assert await store.get("k", collection="default_collection") == await store.get("k", collection="") == {"n": 1}
    assert await store.get("k", collection="c") == {"n": 2}
    assert await other.get("k", collection="mine") == {"n": 3}
    assert (sorted(await store.collections()), await other.collections()) == (["c", "default_collection"], ["mine"])
    assert await persistence.kv(dict, "c").get("k") is None


VALUES: list[dict[str, Any]] = [
    {},
    {"": None, "a.b": [1, 2.5, -0.0, True, None, [], {}], "ä 😀 \0": "ä 😀 \0 \n"},
    {"big": 2**80, "deep": {"a": {"b": {"c": [[[{}]]]}}}},
    {"text": "x" * 3_000_000},
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
async def test_values_come_back_as_they_were(store: LimpetKeyValue, value: dict[str, Any]) -> None:
    await store.put("k", value)
    assert await store.get("k") == value
    assert await store.ttl_many(["k"]) == [(value, None)]


@pytest.mark.parametrize(
    "value", [{"url": AnyHttpUrl("https://example.com")}, {"at": datetime.now(UTC)}, {1: "x"}, {"set": {1}}, {"x": object()}, {"nan": float("nan")}, {"s": "\ud800"}],
    ids=range(7),
)  # fmt: skip
async def test_what_would_come_back_changed_is_refused(store: LimpetKeyValue, value: Any) -> None:
    await store.put("k", {"kept": 1})
    with pytest.raises(errors.SerializationError):
        await store.put("k", value)
    with pytest.raises(errors.SerializationError):
        await store.put_many(["a", "k"], [{"first": 1}, value])
    assert await store.get_many(["a", "k"]) == [None, {"kept": 1}]


async def test_many(store: LimpetKeyValue) -> None:
    await store.put_many(["a", "b", "a"], [{"n": 1}, {"n": 2}, {"n": 3}], collection="c")
    assert await store.get_many(["b", "x", "a", "b"], collection="c") == [{"n": 2}, None, {"n": 3}, {"n": 2}]
    assert await store.delete_many(["a", "x", "a"], collection="c") == 1
    assert (await store.get_many([]), await store.ttl_many([]), await store.delete_many([])) == ([], [], 0)
    await store.put_many([], [])
    with pytest.raises(ValueError, match="2 keys and 1 values"):
        await store.put_many(["a", "b"], [{}])


async def test_more_than_one_batch_takes(store: LimpetKeyValue, database: Database) -> None:
    keys = [f"{n:04d}" for n in range(1300)]
    await store.put_many(keys, [{"n": n} for n in range(1300)])
    assert await store.get_many(keys) == [{"n": n} for n in range(1300)]
    listed = await store.keys()
    assert (sorted(listed), await store.keys(limit=2)) == (keys, listed[:2])
    assert database.wrappers or listed == keys  # encryption hides the order of text
    assert await store.delete_many(keys) == 1300


async def test_expiry(store: LimpetKeyValue) -> None:
    await store.put("brief", {"n": 1}, ttl=0.4)
    await store.put("long", {"n": 2}, ttl=100)
    value, left = await store.ttl("long")
    assert value == {"n": 2}
    assert left is not None
    assert 98 < left <= 100
    await store.put("brief too", {"n": 3}, ttl=0.4)
    await store.put("brief too", {"n": 3})
    await asyncio.sleep(0.6)
    assert await store.get_many(["brief", "long", "brief too"]) == [None, {"n": 2}, {"n": 3}]
    assert (await store.ttl("brief"), await store.delete("brief")) == ((None, None), False)
    assert sorted(await store.keys()) == ["brief too", "long"]
    await store.cull()


@pytest.mark.parametrize("ttl", [0, -1, True, float("nan"), float("inf"), 1e12, "1", []], ids=repr)
async def test_what_is_no_time_to_live(store: LimpetKeyValue, ttl: Any) -> None:
    with pytest.raises(errors.InvalidTTLError):
        await store.put("k", {}, ttl=ttl)
    assert await store.get("k") is None


@pytest.mark.parametrize(
    "name", [" ", "/", "../..", "a!b#c%:", "💙" * 60, "x" * 8192, "null", "1e5", "\0"], ids=lambda each: repr(each)[:20]
)
async def test_any_text_is_a_key_and_a_collection(store: LimpetKeyValue, name: str) -> None:
    await store.put(name, {"n": 1}, collection=name)
    await store.put("other", {"n": 2}, collection=name)
    assert await store.get(name, collection=name) == {"n": 1}
    assert (set(await store.keys(name)), await store.collections()) == ({name, "other"}, [name])
    assert await store.delete(name, collection=name)
    assert await store.destroy_collection(name)
    assert not await store.destroy_collection(name)


async def test_an_empty_key_is_a_key(store: LimpetKeyValue) -> None:
    await store.put("", {"n": 1})
    assert (await store.get(""), await store.keys()) == ({"n": 1}, [""])


async def test_what_cannot_be_a_name_is_refused_before_anything_is_written(
    store: LimpetKeyValue, persistence: Persistence
) -> None:
    for wrong in ("x" * 8193, "\ud800"):
        for call in (
            store.put(wrong, {}), store.put("k", {}, collection=wrong), store.get(wrong), store.delete(wrong), store.keys(wrong),
            store.put_many(["k", wrong], [{}, {}]), store.destroy_collection(wrong),
        ):  # fmt: skip
            with pytest.raises(errors.InvalidKeyError):
                await call
    with pytest.raises(InvalidKeyError):
        LimpetKeyValue(persistence, namespace="")
    assert await store.collections() == []


async def test_destroying(store: LimpetKeyValue, persistence: Persistence) -> None:
    other = LimpetKeyValue(persistence, namespace="other")
    for each in (store, other):
        await each.put_many(["a", "b"], [{}, {}], collection="c")
        await each.put("a", {}, collection="d")
    assert await store.destroy_collection("c")
    assert (await store.collections(limit=0), await store.collections(limit=1)) == ([], ["d"])
    assert await store.destroy()
    assert (await store.collections(), await store.get("a", collection="d")) == ([], None)
    assert sorted(await other.collections()) == ["c", "d"]


async def test_a_damaged_value_is_an_error_and_can_be_replaced(store: LimpetKeyValue, persistence: Persistence) -> None:
    await store.put("k", {"n": 1})
    page = await persistence.driver.scan(Range("kv.tree"))
    await persistence.driver.apply([Put(page.items[0].key, "[1]")])
    for call in (store.get("k"), store.ttl("k"), store.get_many(["k"])):
        with pytest.raises(errors.DeserializationError):
            await call
    assert await store.keys() == ["k"]
    await store.put("k", {"n": 2})
    assert await store.get("k") == {"n": 2}


async def test_concurrent_writers_lose_nothing(database: Database) -> None:
    async with database.open() as one, database.open() as two:
        stores = [LimpetKeyValue(each) for each in ((one, two) if database.is_kept else (one, one))]
        await asyncio.gather(*(stores[n % 2].put(f"{n:03d}", {"n": n}) for n in range(100)))
        assert await stores[0].get_many([f"{n:03d}" for n in range(100)]) == [{"n": n} for n in range(100)]
        assert sum(await asyncio.gather(*(stores[n % 2].delete("007") for n in range(10)))) == 1


def test_any_event_loop_can_use_it_and_it_is_there_again(database: Database) -> None:
    persistence = database.open()
    store = LimpetKeyValue(persistence)
    asyncio.run(store.put("k", {"n": 1}))
    assert asyncio.run(store.get("k")) == {"n": 1}
    asyncio.run(persistence.aclose())
    if database.is_kept:
        again = database.open()
        assert asyncio.run(LimpetKeyValue(again).get("k")) == {"n": 1}
        asyncio.run(again.aclose())


class User(BaseModel):
    name: str
    born: datetime


async def test_py_key_values_own_wrappers_and_adapters_stand_on_it(store: LimpetKeyValue) -> None:
    users = PydanticAdapter[User](
        key_value=PrefixKeysWrapper(store, prefix="p"), pydantic_model=User, default_collection="users"
    )
    ada = User(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC))
    await users.put(key="ada", value=ada)
    assert await users.get(key="ada") == ada
    assert await store.keys("users") == ["p__ada"]


async def test_from_url(tmp_path: Path) -> None:
    for turn in range(2):
        async with LimpetKeyValue.from_url(f"sqlite:///{(tmp_path / 'a.db').as_posix()}", namespace="n") as store:
            if turn == 0:
                await store.put("k", {"n": 1})
            assert await store.get("k") == {"n": 1}


def test_fastmcp_keeps_its_clients_and_streams(tmp_path: Path) -> None:
    program = Path(__file__).parents[3] / "examples/frameworks/key_value_fastmcp.py"
    command = [sys.executable, str(program), f"sqlite:///{(tmp_path / 'fastmcp.db').as_posix()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.splitlines() == ["client registered 302", "client unknown 400", "stream resumed: True"]
