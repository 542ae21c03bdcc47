"""Times, expiry and upserts of key-value stores, on every driver."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from limpet import ConflictError, CorruptDataError, InvalidValueError, NotFoundError, Persistence
from limpet.driver import MemoryDriver, Put
from limpet.stores import KeyValueEntry, KeyValueStore
from limpet.structures import Migrations
from limpet_conformance.faults import swallowed

SHORT = 0.01
"""Seconds between two writes whose times must differ."""


@pytest.fixture
def numbers(persistence: Persistence) -> KeyValueStore[int]:
    return persistence.kv(int, "numbers")


async def test_ttl_tells_what_is_left_what_never_expires_and_what_is_not_there(numbers: KeyValueStore[int]) -> None:
    await numbers.set("eternal", 1)
    await numbers.set("hour", 1, ttl=3600)
    await numbers.set("x" * 300, 1, ttl=timedelta(days=1))
    assert await numbers.ttl("eternal") is None
    left = await numbers.ttl("hour")
    assert left is not None
    assert 3500 < left <= 3600
    with pytest.raises(NotFoundError, match="no record 'nobody' in the namespace 'numbers'"):
        await numbers.ttl("nobody")
    found = await numbers.ttl_many(["hour", "nobody", "eternal", "x" * 300, "hour"])
    assert list(found) == ["hour", "eternal", "x" * 300], "in order, once each, and only what is there"
    assert found["eternal"] is None
    assert 86_000 < (found["x" * 300] or 0) <= 86_400
    assert await numbers.ttl_many([]) == {}


async def test_what_has_expired_has_no_ttl_and_cannot_be_renewed(numbers: KeyValueStore[int]) -> None:
    await numbers.set("gone", 1, ttl=SHORT)
    await asyncio.sleep(0.1)
    with pytest.raises(KeyError):
        await numbers.ttl("gone")
    assert await numbers.touch("gone", ttl=60) is False
    assert await numbers.ttl_many(["gone"]) == {}
    assert await numbers.get_entry("gone") is None


async def test_touch_changes_the_expiry_and_nothing_else(numbers: KeyValueStore[int]) -> None:
    for key in ("k", "x" * 300):
        await numbers.set(key, 7, ttl=60)
        before = await numbers.get_entry(key)
        await asyncio.sleep(SHORT)
        assert await numbers.touch(key, ttl=timedelta(hours=1)) is True
        after = await numbers.get_entry(key)
        assert before is not None
        assert after is not None
        assert (after.key, after.value, after.created_at, after.updated_at) == (
            before.key,
            before.value,
            before.created_at,
            before.updated_at,
        )
        assert after.etag != before.etag
        assert 3500 < (after.ttl or 0) <= 3600
        assert await numbers.touch(key, ttl=None) is True
        assert await numbers.ttl(key) is None
        assert await numbers.get(key) == 7
    assert await numbers.touch("nobody", ttl=1) is False
    with pytest.raises(InvalidValueError, match="ttl"):
        await numbers.touch("k", ttl=0)


async def test_touch_loses_no_change_made_meanwhile(numbers: KeyValueStore[int]) -> None:
    await numbers.set("n", 0)
    changes = [numbers.update("n", lambda n: n + 1) for _ in range(10)]
    renewals = [numbers.touch("n", ttl=600) for _ in range(10)]
    await asyncio.gather(*(each for pair in zip(changes, renewals, strict=True) for each in pair))
    assert await numbers.get("n") == 10
    assert 500 < (await numbers.ttl("n") or 0) <= 600


async def test_a_record_keeps_when_it_was_created(numbers: KeyValueStore[int]) -> None:
    await numbers.set("n", 1)
    first = await numbers.get_entry("n")
    assert first is not None
    assert first.created_at == first.updated_at
    assert abs(first.created_at - datetime.now(UTC)) < timedelta(minutes=1), "the servers of the tests have this clock"
    await asyncio.sleep(SHORT)
    await numbers.update("n", lambda n: n + 1)
    second = await numbers.get_entry("n")
    assert second is not None
    assert second.created_at == first.created_at < second.updated_at
    await asyncio.sleep(SHORT)
    await numbers.touch("n", ttl=60)
    await numbers.update("n", 5)
    third = await numbers.get_entry("n")
    assert third is not None
    assert third.created_at == first.created_at
    assert third.updated_at > second.updated_at, "touch does not stop the clock"
    await asyncio.sleep(SHORT)
    await numbers.set("n", 6)
    fresh = await numbers.get_entry("n")
    assert fresh is not None
    assert fresh.created_at == fresh.updated_at > third.updated_at, "set stores it anew"


async def test_entries_are_what_is_listed_with_what_is_known(numbers: KeyValueStore[int]) -> None:
    keys = ["a", "b", "c", "y" * 300]
    for n, key in enumerate(keys):
        await numbers.set(key, n, ttl=3600 if n % 2 else None)
    await numbers.update("a", lambda n: n)
    listed = [entry async for entry in numbers.entries()]
    assert sorted((entry.namespace, entry.key, entry.value) for entry in listed) == [
        ("numbers", key, n) for n, key in enumerate(keys)
    ]
    asked = await numbers.get_entries([*keys, "nobody", "a"])
    assert list(asked) == [*keys, "nobody"]
    assert asked["nobody"] is None
    assert {entry.key: (entry.etag, entry.created_at) for entry in listed} == {
        key: (entry.etag, entry.created_at) for key, entry in asked.items() if entry is not None
    }
    assert [entry.ttl is None for entry in sorted(listed, key=lambda entry: entry.key)] == [True, False, True, False]
    page = await numbers.entries(limit=3)
    rest = await numbers.entries(cursor=page.cursor)
    assert [*page, *rest] == [type(each)(**_shown(each, listed)) for each in [*page, *rest]]
    assert len({*(entry.key for entry in page), *(entry.key for entry in rest)}) == 4


def _shown(entry: KeyValueEntry[int], listed: list[KeyValueEntry[int]]) -> dict[str, Any]:
    (same,) = [each for each in listed if each.key == entry.key]
    return {
        "namespace": same.namespace,
        "key": same.key,
        "value": same.value,
        "etag": same.etag,
        "created_at": same.created_at,
        "updated_at": same.updated_at,
        "ttl": entry.ttl,
    }


async def test_update_with_a_default_creates(persistence: Persistence, numbers: KeyValueStore[int]) -> None:
    assert await numbers.update("n", lambda n: n + 1, default=10) == 11
    assert await numbers.update("n", lambda n: n + 1, default=10) == 12
    assert await numbers.update("m", 3, default=0) == 3
    assert await numbers.update("f", lambda n: n + 1, default=lambda: 4) == 5
    assert await numbers.ttl("n") is None
    with pytest.raises(NotFoundError):
        await numbers.update("absent", lambda n: n)
    maybe = persistence.kv(int | None, "maybe")
    assert await maybe.update("n", lambda n: n, default=lambda: None) is None
    assert await maybe.exists("n")
    with pytest.raises(NotFoundError):
        await maybe.update("other", lambda n: n, default=None)
    with pytest.raises(InvalidValueError):
        await numbers.update("bad", lambda n: n, default="text")  # type: ignore[arg-type]
    assert not await numbers.exists("bad")


async def test_many_upserts_of_one_key_lose_nothing(persistence: Persistence) -> None:
    lists = persistence.kv(list[int], "lists")

    def add(n: int) -> Any:
        def change(numbers: list[int]) -> list[int]:
            numbers.append(n)
            return numbers

        return change

    shared: list[int] = []
    await asyncio.gather(*(lists.update("k", add(n), default=shared) for n in range(20)))
    assert sorted(await lists.get("k") or []) == list(range(20))
    assert shared == [], "the function gets a copy of the default"


async def test_an_upsert_with_a_token_happens_once(numbers: KeyValueStore[int]) -> None:
    def more(n: int) -> int:
        return n + 1

    assert await numbers.update("n", more, default=0, once="t") == 1
    assert await numbers.update("n", more, default=0, once="t") == 1
    with pytest.raises(ConflictError):
        await numbers.update("n", lambda n: n + 2, default=0, once="t")


async def test_a_lost_answer_to_an_upsert_counts_once() -> None:
    async with MemoryDriver() as driver:
        store = KeyValueStore(driver, int, "n")
        with swallowed(driver):
            assert await store.update("n", lambda n: n + 1, default=1) == 2
        assert await store.get("n") == 2
        with swallowed(driver):
            assert await store.touch("n", ttl=5) is True
        assert await store.get("n") == 2


async def test_a_migrated_record_keeps_its_times() -> None:
    async with MemoryDriver() as driver:
        await KeyValueStore(driver, int, "n").set("k", 1)
        migrations = Migrations(version=2)
        migrations.step(1)(lambda n: n * 10)
        store = KeyValueStore(driver, int, "n", migrations=migrations)
        before = await store.get_entry("k")
        assert await store.touch("k", ttl=60), "touch does not migrate"
        await asyncio.sleep(SHORT)
        assert await store.update("k", lambda n: n + 1) == 11
        after = await store.get_entry("k")
        assert before is not None
        assert after is not None
        assert (before.value, after.value) == (10, 11)
        assert after.created_at == before.created_at < after.updated_at


@pytest.mark.parametrize(
    "header",
    ['{"meta":{"created":"x"}}', '{"meta":{"created":true}}', '{"meta":{"updated":-1}}', '{"meta":{"created":1e30}}'],
)
async def test_a_damaged_time_is_found_out(header: str) -> None:
    async with MemoryDriver() as driver:
        store = KeyValueStore(driver, int, "n")
        await driver.apply([Put(store.at("k"), f"#limpet {header}\n1")])
        assert await store.get("k") == 1, "which needs no times"
        for call in (store.get_entry("k"), store.update("k", lambda n: n), store.touch("k", ttl=1)):
            with pytest.raises(CorruptDataError, match="no valid time"):
                await call
        assert await store.set("k", 2)
        assert await store.get_entry("k") is not None
