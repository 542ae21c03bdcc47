"""The limits of docs/limits.md: what each accepts, what it refuses, and that refusing costs little."""

from __future__ import annotations

import asyncio
import re
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from limpet import (
    ConfigurationError,
    CorruptDataError,
    InvalidCursorError,
    InvalidKeyError,
    InvalidValueError,
    Persistence,
    TooLargeError,
    create_persistence,
    create_storage,
)
from limpet.driver import MAX_TEXT, Item, MemoryDriver, Put, Range, key, name, new_etag, text
from limpet.driver.kit import Subscription
from limpet.events import create_queue
from limpet.structures.log import LogCache
from limpet.wrappers import Cached, Compressed

MIB = 1024 * 1024
PAGE = Path(__file__).parents[1] / "docs/limits.md"


@pytest.fixture
async def persistence() -> AsyncIterator[Persistence]:
    async with create_persistence("memory://") as opened:
        yield opened


@contextmanager
def costing_at_most(most: int) -> Iterator[None]:
    """Fails if more than so many bytes were allocated at once in the block."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


async def test_text_in_keys(persistence: Persistence) -> None:
    longest = "é" * MAX_TEXT
    await persistence.kv(int, longest).set(longest, 1)
    assert await persistence.kv(int, longest).get(longest) == 1
    huge = "x" * 100 * MIB
    encoded = f"a!@{huge}"
    calls: list[Callable[[], Any]] = [
        partial(persistence.kv(int, "n").get, huge),
        partial(persistence.kv(int, "n").set, huge, 1),
        partial(persistence.threads.get, huge),
        partial(persistence.threads.create, id=huge, user_id="u", agent_name="a"),
        partial(persistence.sessions.add_message, huge, {"role": "user", "content": "x"}, create=True),
        partial(persistence.approvals.get, huge),
        partial(persistence.checkpoints.get, huge),
        partial(persistence.events().publish, huge, 1),
        partial(persistence.blobs.get, huge),
    ]
    with costing_at_most(MIB):
        for call in calls:
            with pytest.raises((InvalidKeyError, InvalidValueError)) as caught:
                await call()
            assert len(str(caught.value)) < 1000
        with pytest.raises(InvalidKeyError):
            persistence.kv(int, huge)
        with pytest.raises(InvalidKeyError):
            await persistence.driver.get([encoded])


async def test_values(persistence: Persistence) -> None:
    async with create_persistence("memory://", max_value_bytes=256 * 1024) as small:
        store = small.kv(str, "n")
        await store.set("a", "x" * (256 * 1024 - 2))
        with pytest.raises(TooLargeError):
            await store.set("a", "x" * (256 * 1024 - 1))
        await small.threads.create(id="t", user_id="u", agent_name="a")
        with pytest.raises(TooLargeError):
            await small.threads.add_message("t", "user", "x" * 256 * 1024)
        assert await small.threads.get_messages("t") == []
        with pytest.raises(TooLargeError):
            await small.events().publish("c", "x" * 256 * 1024)
        blob = await small.blobs.create(b"x" * MIB, id="b")
        assert blob.size == MIB, "blobs have no limit"
    for wrong in (0, 1000, True, "1"):
        options: Any = {"max_value_bytes": wrong}
        with pytest.raises(ConfigurationError, match="max_value_bytes"):
            await create_persistence("memory://", **options)
    huge = "x" * 200 * MIB
    with costing_at_most(MIB), pytest.raises(TooLargeError):
        await persistence.kv(str, "n").set("a", huge)


async def test_claimed_size_of_a_long_value(persistence: Persistence) -> None:
    store = persistence.kv(str, "n")
    await store.set("a", "x" * 2 * MIB)
    below: Any = persistence.driver
    (pointer,) = await below.inner.get([store.at("a")])
    for size, value in ((10**15, 10**15), (-1, -1), (1, 1)):
        forged = re.sub(r'"size":\d+', f'"size":{value}', pointer.value)
        await below.inner.apply([Put(store.at("a"), forged)])
        with costing_at_most(4 * MIB), pytest.raises(CorruptDataError, match=str(size)):
            await store.get("a")


async def test_claimed_size_of_a_compressed_value() -> None:
    inner = MemoryDriver()
    at = key(name("kv"), text("bomb"))
    async with inner:
        await Compressed(inner).apply([Put(at, b"\0" * 2 * MIB)])
        driver = Compressed(inner, max_bytes=MIB)
        with costing_at_most(MIB), pytest.raises(CorruptDataError, match="the maximum is 1048576"):
            await driver.get([at])
        with pytest.raises(TooLargeError):
            await driver.apply([Put(at, b"\0" * (MIB + 1))])
    for wrong in (0, 100, True, 10**12):
        with pytest.raises(ConfigurationError, match="max_bytes"):
            Compressed(MemoryDriver(), max_bytes=wrong)


def test_remembered_heads() -> None:
    cache = LogCache()
    for n in range(100):
        cache.put(str(n), Item(str(n), "x" * MIB, new_etag(), 0))
    assert sum(cache.get(str(n)) is not None for n in range(100)) == 16
    for n in range(10_000):
        cache.put(str(n), Item(str(n), "x", new_etag(), 0))
    assert sum(cache.get(str(n)) is not None for n in range(10_000)) == 4096


async def test_notifications_of_a_slow_reader() -> None:
    async with MemoryDriver() as driver:
        watch = driver.watch("")
        assert await anext(watch) is None
        keys = [key(name("a"), text(str(n))) for n in range(100)]
        for at in keys * 100:
            await driver.apply([Put(at, "x")])
        assert await anext(watch) == frozenset(keys), "each key once"
        long = [key(name("a"), *[text(str(n % 10) * 200)] * 5) for n in range(10)]
        subscription = Subscription()
        for n in range(40_000):
            subscription.push([f"{long[0]}{n}"])
        left, *more = [await subscription.next(), await subscription.next()]
        assert left is not None
        assert len(left) < 40_000
        assert more == [frozenset()], "look again"


async def test_callbacks_of_a_slow_watch(caplog: pytest.LogCaptureFixture) -> None:
    async with create_storage("memory://") as storage:
        heard: list[str] = []
        go_on = asyncio.Event()
        running = 0

        async def slow(event: str, key: str) -> None:
            nonlocal running
            running += 1
            assert running == 1, "one call at a time"
            await go_on.wait()
            heard.append(key)
            running -= 1

        unwatch = await storage.watch(slow)
        for n in range(3000):
            await storage.set_item("same" if n % 2 else str(n), n)
        await asyncio.sleep(0.1)
        go_on.set()
        await unwatch()
    assert len(heard) <= 1001
    assert heard.count("same") <= 2, "changes of one key are one change"
    assert heard[-1] == "same"
    assert "changes were not reported" in caplog.text


async def test_a_watch_that_ends_itself() -> None:
    async with create_storage("memory://") as storage, asyncio.timeout(5):
        ended = asyncio.Event()

        async def once(event: str, key: str) -> None:
            await unwatch()
            ended.set()

        unwatch = await storage.watch(once)
        await storage.set_item("a", 1)
        await ended.wait()


async def test_cached_items() -> None:
    async with Cached(MemoryDriver(), max_stale=60, max_bytes=MIB) as driver:
        keys = [key(name("a"), text(str(n))) for n in range(64)]
        for at in keys:
            await driver.apply([Put(at, "x" * 64 * 1024)])
        with costing_at_most(8 * MIB):
            for at in keys:
                await driver.get([at])


async def test_nesting_and_digits(persistence: Persistence) -> None:
    nested: Any = 1
    for _ in range(129):
        nested = [nested]
    store = persistence.kv(Any, "n")
    await store.set("a", nested[0])
    for deeper in (nested, [nested] * 3, 10**4300):
        wrong: Any = deeper
        with pytest.raises(InvalidValueError):
            await persistence.events().publish("c", wrong)
        for _ in range(72):
            wrong = [wrong]
        with pytest.raises(InvalidValueError):
            await store.set("a", wrong)
    assert await store.get("a") == nested[0]


async def test_pages(persistence: Persistence) -> None:
    store = persistence.kv(int, "n")
    for start in range(0, 1500, 500):
        await store.set_many({f"{n:05}": n for n in range(start, start + 500)})
    page = await persistence.driver.scan(Range(store.base, limit=10**9))
    assert len(page.items) == 1000
    assert page.next is not None


async def test_cursors(persistence: Persistence) -> None:
    await persistence.threads.create(id="t", user_id="u", agent_name="a")
    huge, digits = "x" * 10 * MIB, "9" * 10 * MIB
    with costing_at_most(MIB):
        for call in (
            persistence.threads.list,
            partial(persistence.threads.get_messages, "t"),
            persistence.kv(int, "n").list,
        ):
            with pytest.raises(InvalidCursorError) as caught:
                await call(cursor=huge)
            assert len(str(caught.value)) < 1000
        async with create_queue("memory://") as queue:
            with pytest.raises(InvalidCursorError):
                await queue.recover("c", digits)


def test_error_texts() -> None:
    error = ConfigurationError(f"{'x' * MIB}: and what to do")
    assert len(str(error)) <= 2000
    assert str(error).endswith("and what to do")


def test_every_row_of_the_page_is_tested() -> None:
    rows = re.findall(r"^\| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE)[2:]
    tested = {each.removeprefix("test_").replace("_", " ") for each in globals() if each.startswith("test_")}
    missing = [row for row in rows if row.lower().replace("`", "") not in tested]
    assert not missing
    assert len(rows) >= 10
