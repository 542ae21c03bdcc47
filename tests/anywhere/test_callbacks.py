"""Iterators, callbacks and sources of bytes that cross to another event loop: each runs where it was given."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import pytest
from limpet import (
    Persistence,
    open_persistence,
    sync,
)
from limpet._portal import Portal

R = TypeVar("R")


async def nothing() -> None:
    pass


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal(nothing)
    yield portal
    portal.end()


@pytest.fixture
def persistence() -> Iterator[Persistence]:
    persistence = open_persistence("memory://")
    yield persistence
    asyncio.run(persistence.aclose())


def test_an_iterator_that_is_left_is_closed_there(portal: Portal) -> None:
    ended = threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            for n in range(1000):
                yield n
        finally:
            await asyncio.sleep(0)
            ended.set()

    for number in portal.iterate(numbers()):
        if number == 3:
            break
    gc.collect()
    assert ended.wait(10)

    async def leave() -> None:
        async for number in portal.iterate_across(numbers()):
            if number == 3:
                break

    ended.clear()
    asyncio.run(leave())
    gc.collect()
    assert ended.wait(10)


async def test_callbacks_run_where_they_were_given(persistence: Persistence) -> None:
    here = asyncio.get_running_loop()
    heard = asyncio.Event()

    async def callback(event: Any) -> None:
        assert asyncio.get_running_loop() is here
        async with persistence.state(dict, "s", factory=dict) as state:  # a callback may call anything
            state[event.event] = threading.get_ident()
        heard.set()

    async with persistence.events() as queue:
        end = await queue.subscribe("c", callback)
        await queue.publish("c", "one")
        async with asyncio.timeout(10):
            await heard.wait()
        await end()
        await queue.publish("c", "two")
        await asyncio.sleep(0.05)
    assert await persistence.state(dict, "s", factory=dict).get_state() == {"one": threading.get_ident()}


def test_a_subscription_ends_with_the_loop_that_made_it() -> None:
    persistence = open_persistence("memory://")
    queue = persistence.events()

    async def subscribe() -> None:
        async def callback(event: Any) -> None:
            pass

        await queue.subscribe("c", callback)

    asyncio.run(subscribe())
    for n in range(3):
        asyncio.run(queue.publish("c", n))
    time.sleep(0.1)
    plain = sync.EventQueue.of(queue)
    assert not plain._inner._subscribers
    asyncio.run(persistence.aclose())


def test_a_plain_callback_may_block_and_call_anything() -> None:
    with sync.create_persistence("memory://") as persistence, persistence.events() as queue:
        heard = threading.Event()
        seen: list[object] = []

        def callback(event: Any) -> None:
            persistence.kv(int, "n").set("a", event.event)
            time.sleep(0.01)
            seen.append(event.event)
            if len(seen) == 3:
                heard.set()

        end = queue.subscribe("c", callback)
        for n in range(3):
            queue.publish("c", n)
        assert heard.wait(10)
        assert seen == [0, 1, 2]
        end()
        assert persistence.kv(int, "n").get("a") == 2


async def test_bytes_are_read_on_the_loop_of_their_source(persistence: Persistence) -> None:
    here = threading.get_ident()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            assert threading.get_ident() == here
            yield b"abc"

    def more() -> Iterator[bytes]:
        assert threading.get_ident() == here
        yield b"abc" * 3

    first = await persistence.blobs.create(pieces())
    second = await persistence.blobs.create(more())
    assert first.sha256 == second.sha256
    assert await persistence.blobs.read_bytes(first.id) == b"abc" * 3


def test_a_blob_is_copied_from_itself() -> None:
    with sync.create_persistence("memory://") as persistence:
        first = persistence.blobs.create(b"x" * 3_000_000)
        second = persistence.blobs.create(persistence.blobs.read(first.id))
        assert second.size == 3_000_000
        assert second.sha256 == first.sha256


def test_lists_are_read_in_pages_and_damage_is_told_to_this_thread() -> None:
    with sync.create_persistence("memory://") as persistence:
        store = persistence.kv(int, "n")
        store.set_many({f"k{n:04}": n for n in range(500)})
        assert [value for _, value in store.list()] == list(range(500))
        page = store.list(limit=10).page()
        assert [value for _, value in page] == list(range(10))
        assert [value for _, value in store.list(limit=10, cursor=page.cursor).page()] == list(range(10, 20))
        persistence.kv(str, "n").set("k0003", "three")
        told: list[int] = []
        found = list(store.list().skip_unreadable(lambda error: told.append(threading.get_ident())))
        assert len(found) == 499
        assert told == [threading.get_ident()]
        assert sum(isinstance(each, Exception) for each in store.list().with_errors()) == 1
