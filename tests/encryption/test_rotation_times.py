"""A rotation changes keys, and neither when things were written nor what retention by age removes."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from limpet import Persistence, create_persistence, create_storage
from limpet.driver import Driver, MemoryDriver, Put, key, name, text
from limpet.driver.kit import scan_all
from limpet.opening import driver_from_url
from limpet.stores import Retention, RetentionPolicies
from limpet.wrappers import Encrypted, cached, encrypted, rotate

KEYS = [bytes([first]) * 32 for first in range(3)]


@pytest.fixture(params=["memory", "sqlite", "fs"])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    urls = {
        "memory": "memory://",
        "sqlite": f"sqlite:///{tmp_path.as_posix()}/a.db",
        "fs": f"fs://{tmp_path.as_posix()}/a",
    }
    async with driver_from_url(urls[request.param]) as driver:
        yield driver


def opened(driver: Driver, generation: int, *around: Any) -> Any:
    old = KEYS[:generation][::-1]
    return create_persistence(driver, wrappers=[*around, encrypted(key=KEYS[generation], old_keys=old)])


async def times(persistence: Persistence) -> dict[str, datetime | int]:
    """When each store says that something was written."""
    queue = persistence.events(prune_interval=None)
    try:
        (event,) = (await queue.recover("channel")).events
    finally:
        await queue.aclose()
    state = persistence.state(dict, "agent", factory=dict, history=5)
    (revision, *_) = await state.history.list()
    checkpoint = await persistence.checkpoints.get("thread")
    assert checkpoint is not None
    whole = {item.key: item.updated_at async for item in scan_all(persistence.driver, "")}
    bare = {item.key: item.updated_at for item in await persistence.driver.get(list(whole), values=False) if item}
    assert bare == whole
    return {
        "event": event.published_at,
        "revision": revision.saved_at,
        "checkpoint": checkpoint.created_at,
        **{at: when for at, when in whole.items() if not at.startswith(("manifest", "keyring", "health"))},
    }


async def test_times_and_retention_stay(driver: Driver) -> None:
    async with opened(driver, 0) as persistence:
        queue = persistence.events(prune_interval=None)
        await queue.publish("channel", "event")
        await queue.aclose()
        async with persistence.state(dict, "agent", factory=dict, history=5) as state:
            state["a"] = 1
        await persistence.checkpoints.put("thread", {"a": 1}, id="c")
        await persistence.kv(dict, "old").set("k", {"a": 1})
        written = await times(persistence)
    await asyncio.sleep(0.3)
    for generation in (1, 2):  # twice: what was carried once is carried again
        async with opened(driver, generation) as persistence:
            assert (await rotate(persistence.driver)).sealed > 3
            assert await times(persistence) == written
    async with opened(driver, 2, cached()) as persistence:
        for _ in range(2):
            assert await times(persistence) == written
        await persistence.kv(dict, "new").set("k", {"a": 1})
        policies = RetentionPolicies(
            kv={"old": Retention(max_age=timedelta(seconds=0.25)), "new": Retention(max_age=timedelta(hours=1))}
        )
        removed = await persistence.prune(policies)
        assert {**removed.kv} == {"old": 1, "new": 0}
        queue = persistence.events(retention=timedelta(seconds=0.25), prune_interval=None)
        assert await queue.prune() == 1
        await queue.aclose()


async def test_a_later_write_has_a_time_of_its_own() -> None:
    at = key(name("kv"), text("a"))
    async with MemoryDriver() as memory, Encrypted(memory, key=KEYS[0]) as before:
        await before.apply([Put(at, "x"), Put(key(name("kv"), text("b")), b"\0" * 9)])
        first, raw = await before.get([at, key(name("kv"), text("b"))])
        await asyncio.sleep(0.02)
        new = Encrypted(memory, key=KEYS[1], old_keys=[KEYS[0]])
        await new.open()
        await rotate(new)
        moved, moved_raw = await new.get([at, key(name("kv"), text("b"))])
        assert first is not None
        assert moved is not None
        assert raw is not None
        assert moved_raw is not None
        assert (moved.value, moved.updated_at) == ("x", first.updated_at)
        assert (moved_raw.value, moved_raw.updated_at) == (b"\0" * 9, raw.updated_at)
        await new.apply([Put(at, "y")])
        (later,) = await new.get([at], values=False)
        assert later is not None
        assert later.updated_at >= first.updated_at + 20


async def test_storage_shows_when_an_item_was_written(driver: Driver) -> None:
    async with create_storage(driver, wrappers=[encrypted(key=KEYS[0])]) as storage:
        await storage.set_item("a", 1)
        before = await storage.get_meta("a")
    await asyncio.sleep(0.02)
    async with create_storage(driver, wrappers=[encrypted(key=KEYS[1], old_keys=[KEYS[0]])]) as storage:
        await rotate(storage.driver)
        after = await storage.get_meta("a")
        assert before is not None
        assert after is not None
        assert after.updated_at == before.updated_at
