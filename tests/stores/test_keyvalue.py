"""Typed key-value stores, on every driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from limpet import (
    ConflictError,
    CorruptDataError,
    InvalidCursorError,
    InvalidKeyError,
    InvalidValueError,
    NotFoundError,
    Persistence,
    TooLargeError,
)
from limpet.driver import MemoryDriver, Put
from limpet.stores import KeyValueStore
from limpet_conformance.faults import swallowed
from pydantic import BaseModel, ConfigDict, Field


class User(BaseModel):
    name: str
    email: str | None = "unknown"
    tags: list[str] = Field(default_factory=list, alias="userTags")
    created: datetime = datetime(2026, 1, 2, tzinfo=UTC)

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


ADA = User(name="Ada", email=None, userTags=["x"])

TEXTS = ["", " ", "a/b", "../escaped", "a:b", "a!b", 'a"b', "#00", "ü", "日本", "\x00", "a\nb", "*", "%", "x" * 5000]


@pytest.fixture
def users(persistence: Persistence) -> KeyValueStore[User]:
    return persistence.kv(User, "users")


async def test_what_is_set_comes_back_equal_until_it_is_deleted(users: KeyValueStore[User]) -> None:
    assert await users.get("u1") is None
    assert not await users.exists("u1")
    etag = await users.set("u1", ADA)
    assert await users.get("u1") == ADA, "also the None that was set over another default"
    assert await users.get_with_etag("u1") == (ADA, etag)
    assert await users.exists("u1")
    assert await users.delete("u1") is True
    assert await users.delete("u1") is False
    assert await users.get_with_etag("u1") is None


async def test_naylences_spelling_gives_the_same_store(persistence: Persistence, users: KeyValueStore[User]) -> None:
    store = await persistence.get_kv_store(User, namespace="users")
    await store.set("u1", ADA)
    assert dict(await users.list()) == {"u1": ADA}


@pytest.mark.parametrize("namespace", TEXTS)
async def test_any_text_is_a_namespace_and_a_key(persistence: Persistence, namespace: str) -> None:
    store = persistence.kv(int, namespace)
    others = [persistence.kv(int, other) for other in TEXTS if other != namespace]
    for n, key in enumerate(TEXTS):
        await store.set(key, n)
    assert {key: await store.get(key) for key in TEXTS} == {key: n for n, key in enumerate(TEXTS)}
    assert dict(await store.list()) == {key: n for n, key in enumerate(TEXTS)}
    assert sorted(await store.keys()) == sorted(TEXTS)
    assert [dict(await other.list()) for other in others] == [{}] * len(others)
    assert await store.clear() == len(TEXTS)


@pytest.mark.parametrize("bad", ["\ud800", 5, None])
async def test_what_is_no_text_is_refused(persistence: Persistence, bad: Any) -> None:
    with pytest.raises(InvalidKeyError):
        persistence.kv(int, bad)
    with pytest.raises(InvalidKeyError):
        await persistence.kv(int, "n").set(bad, 1)
    with pytest.raises(InvalidKeyError):
        await persistence.kv(int, "n").get(bad)


@pytest.mark.parametrize("namespace", ["__agent_counter", "__node_meta", "_mine", "__"])
async def test_no_namespace_is_reserved(persistence: Persistence, namespace: str) -> None:
    await persistence.kv(int, namespace).set("n", 1)
    assert await persistence.kv(int, namespace).get("n") == 1


async def test_conditions(users: KeyValueStore[User]) -> None:
    etag = await users.set("u", ADA, if_absent=True)
    with pytest.raises(ConflictError):
        await users.set("u", ADA, if_absent=True)
    newer = await users.set("u", User(name="Bo"), if_match=etag)
    assert newer != etag
    for late in (users.set("u", ADA, if_match=etag), users.replace("u", ADA, if_match=etag)):
        with pytest.raises(ConflictError):
            await late
    with pytest.raises(ConflictError):
        await users.delete("u", if_match=etag)
    with pytest.raises(InvalidValueError):
        await users.set("u", ADA, if_match=newer, if_absent=True)
    assert await users.delete("u", if_match=newer)
    with pytest.raises(ConflictError):
        await users.set("u", ADA, if_match=newer)


async def test_replace_and_update_of_an_absent_key_are_key_errors(users: KeyValueStore[User]) -> None:
    for call in (
        users.replace("nobody", ADA),
        users.replace("nobody", ADA, if_match=await users.set("x", ADA)),
        users.update("nobody", lambda user: user),
    ):
        with pytest.raises(KeyError, match="no record 'nobody' in the namespace 'users'") as caught:
            await call
        assert isinstance(caught.value, NotFoundError)
    assert await users.delete("x")
    assert dict(await users.list()) == {}


async def test_replace_stores_where_there_is_something(users: KeyValueStore[User]) -> None:
    etag = await users.set("u", ADA, ttl=60)
    assert await users.replace("u", User(name="Bo"), if_match=etag) != etag
    assert await users.get("u") == User(name="Bo")


async def test_update_answers_the_new_value_and_loses_none(persistence: Persistence) -> None:
    handles = [persistence.kv(int, "n") for _ in range(2)]
    await handles[0].set("n", 0)
    await asyncio.gather(*(handle.update("n", lambda n: n + 1) for handle in handles for _ in range(20)))
    assert await handles[0].update("n", lambda n: n + 1) == 41


async def test_update_refuses_what_is_no_value_of_its_type_and_stores_nothing(users: KeyValueStore[User]) -> None:
    await users.set("u", ADA)

    async def change(user: User) -> User:
        return user

    with pytest.raises(InvalidValueError):
        await users.update("u", {"name": "x"})  # type: ignore[arg-type]
    changed = change(ADA)
    with pytest.raises(InvalidValueError, match="synchronous function"):
        await users.update("u", lambda user: changed)  # type: ignore[arg-type, return-value]
    changed.close()
    with pytest.raises(InvalidValueError):
        await users.update("u", lambda user: {"name": "x"})  # type: ignore[arg-type, return-value]
    assert await users.get("u") == ADA


async def test_update_takes_the_new_value_itself(persistence: Persistence) -> None:
    store = await persistence.get_kv_store(model_cls=User, namespace="__node_meta")
    with pytest.raises(KeyError):
        await store.update("u", ADA)
    await store.set("u", User(name="old"), ttl=60)
    assert await store.update("u", ADA) == ADA
    assert await store.get("u") == ADA
    (item,) = await persistence.driver.get([store.at("u")])
    assert item is not None
    assert item.ttl_ms is not None, "keeps the expiry"
    assert await store.update("u", User(name="once"), once="t") == await store.update("u", User(name="once"), once="t")
    with pytest.raises(ConflictError):
        await store.update("u", ADA, once="t")


async def test_once_repeats_nothing(persistence: Persistence) -> None:
    store = persistence.kv(int, "n")
    await store.set("n", 1)
    assert await store.update("n", lambda n: n + 1, once="t") == 2
    assert await store.update("n", lambda n: n + 1, once="t") == 2
    await store.delete("n")
    await store.set("n", 5)
    assert await store.update("n", lambda n: n + 1, once="t") == 5


async def test_a_token_of_once_belongs_to_its_call(persistence: Persistence) -> None:
    def add(amount: int) -> Callable[[int], int]:
        return lambda n: n + amount

    stores = [persistence.kv(int, "tenant-a"), persistence.kv(int, "tenant-b")]
    for store in stores:
        for key in ("one", "other"):
            await store.set(key, 0)
            assert await store.update(key, add(100), once="order-1001") == 100, "a token elsewhere is another call"
            assert await store.update(key, add(100), once="order-1001") == 100
    changed: tuple[Callable[[int], int], ...] = (
        add(5),
        lambda n: n - 100,
        partial(pow, exp=2),
        partial(pow, exp=3),
        int.__neg__,
        (100).__add__,
    )
    for other in changed:
        with pytest.raises(ConflictError, match="another function"):
            await stores[0].update("one", other, once="order-1001")
    assert await stores[0].get("one") == 100
    for number, change in enumerate(changed[2:]):
        await stores[0].set("one", 2)
        assert await stores[0].update("one", change, once=f"token {number}") == change(2)
        assert await stores[0].update("one", change, once=f"token {number}") == change(2)
        with pytest.raises(ConflictError, match="another function"):
            await stores[0].update("one", add(1), once=f"token {number}")


async def test_objects_that_a_function_fills_do_not_make_it_another(persistence: Persistence) -> None:
    store, seen = persistence.kv(int, "n"), list[int]()
    await store.set("n", 1)

    def change(n: int) -> int:
        seen.append(n)
        return n + 1

    for _ in range(2):
        assert await store.update("n", change, once="t") == 2
    assert seen


async def test_time_to_live(persistence: Persistence) -> None:
    store = persistence.kv(int, "n")
    await store.set("a", 1, ttl=0.6)
    await store.set("b", 1, ttl=timedelta(milliseconds=600))
    await store.set_many({"c": 1, "d": 1}, ttl=0.6)
    await store.set("kept", 1, ttl=0.6)
    await store.set("kept", 1)
    await store.set("replaced", 1, ttl=0.6)
    await store.replace("replaced", 1)
    assert await store.update("a", lambda n: n + 1) == 2, "keeps the expiry"
    await asyncio.sleep(0.7)
    assert dict(await store.list()) == {"kept": 1, "replaced": 1}
    for bad in (0, -1, float("nan"), True, "5"):
        with pytest.raises(InvalidValueError, match="ttl"):
            await store.set("a", 1, ttl=bad)  # type: ignore[arg-type]


async def test_many_at_once(persistence: Persistence) -> None:
    store = persistence.kv(int, "n")
    long = "l" * 300
    etags = await store.set_many({"a": 1, "b": 2, long: 3})
    assert await store.get_many(["b", "nobody", long, "b"]) == {"b": 2, "nobody": None, long: 3}
    assert await store.get_with_etag("b") == (2, etags["b"])
    assert await store.set_many({}) == {}
    assert await store.get_many([]) == {}
    limit = persistence.driver.capabilities.max_writes
    if limit <= 10_000:
        await store.set_many({f"k{n}": n for n in range(limit)})
        assert await store.get_many(f"k{n}" for n in range(limit)) == {f"k{n}": n for n in range(limit)}
        with pytest.raises(TooLargeError, match="several batches"):
            await store.set_many({f"x{n}": n for n in range(limit + 1)})
        assert await store.clear() == limit + 3
    assert not await store.exists("x0")


async def test_set_many_is_all_or_nothing(persistence: Persistence) -> None:
    store = persistence.kv(str, "n")
    await store.set("a", "old")
    with pytest.raises(ValueError):
        await store.set_many({"a": "new", "b": 5})  # type: ignore[dict-item]
    with pytest.raises(TooLargeError):
        await store.set_many({"a": "new", "b": "x" * (persistence.driver.capabilities.max_value_bytes + 1)})
    assert dict(await store.list()) == {"a": "old"}


async def test_pages_and_iteration_give_everything_once(persistence: Persistence) -> None:
    store = persistence.kv(int, "n")
    values = {f"k{n:03}": n for n in range(250)} | {"z" * 300 + str(n): n for n in range(30)}
    for part in range(0, 280, 70):
        await store.set_many(dict(list(values.items())[part : part + 70]))
    found: dict[str, int] = {}
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        page = await store.list(limit=60, cursor=cursor)
        assert len(page) <= 60
        assert not found.keys() & dict(page).keys()
        found |= dict(page)
        cursor, pages = page.cursor, pages + 1
    assert (pages, found) == (5, values)
    assert dict([pair async for pair in store.list()]) == values
    assert sorted([key async for key in store.keys(limit=1000)]) == sorted(values)
    assert len(await store.keys(limit=7)) == 7
    with pytest.raises(InvalidCursorError):
        await store.keys(cursor=(await store.list(limit=1)).cursor)
    with pytest.raises(InvalidCursorError):
        await persistence.kv(int, "m").list(cursor=(await store.list(limit=1)).cursor)


async def test_clear_empties_this_namespace_only(persistence: Persistence) -> None:
    store, beside, below = persistence.kv(int, "n"), persistence.kv(int, "nn"), persistence.kv(int, "n!a")
    for each in (store, beside, below):
        await each.set_many({"a": 1, "b": 2})
    assert await store.clear() == 2
    assert await store.clear() == 0
    assert (dict(await beside.list()), dict(await below.list())) == ({"a": 1, "b": 2}, {"a": 1, "b": 2})


async def test_changing_what_was_read_or_set_changes_nothing_stored(persistence: Persistence) -> None:
    store = persistence.kv(list[str], "n")
    value = ["a"]
    await store.set("k", value)
    value.append("b")
    found = await store.get("k")
    assert found == ["a"]
    found.append("c")
    (dict(await store.list()))["k"].append("d")
    assert await store.get("k") == ["a"]


async def test_a_lost_answer_to_an_update_counts_once() -> None:
    async with MemoryDriver() as driver:
        store = KeyValueStore(driver, int, "n")
        await store.set("n", 1)
        with swallowed(driver):
            assert await store.update("n", lambda n: n + 1) == 2
        assert await store.get("n") == 2


async def test_a_value_under_the_wrong_key_is_found_out() -> None:
    async with MemoryDriver() as driver:
        store = KeyValueStore(driver, int, "n")
        a, b = "x" * 300, "x" * 301
        await store.set(a, 1)
        (item,) = await driver.get([store.at(a)])
        assert item is not None
        assert item.value is not None
        await driver.apply([Put(store.at(b), item.value)])
        with pytest.raises(CorruptDataError, match="contains the record"):
            await store.get(b)
        beside = KeyValueStore(driver, int, "x" * 300)
        await beside.set("k", 1)
        (item,) = await driver.get([beside.at("k")])
        assert item is not None
        assert item.value is not None
        other = KeyValueStore(driver, int, "x" * 301)
        await driver.apply([Put(other.at("k"), item.value)])
        with pytest.raises(CorruptDataError, match="not a record of the namespace"):
            dict(await other.list())
        await driver.apply([Put(store.at("raw"), b"\x00"), Put(store.at("text"), "{")])
        for key in ("raw", "text"):
            with pytest.raises(CorruptDataError, match=key):
                await store.get(key)
