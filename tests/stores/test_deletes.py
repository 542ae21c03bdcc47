"""Deletes mean it: nothing stays for ever of what was deleted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from limpet import InvalidCursorError, Persistence, create_persistence
from limpet.driver import Driver, Item, MemoryDriver
from limpet.driver.kit import scan_all

MONTH_MS = timedelta(days=30) / timedelta(milliseconds=1)


async def items(driver: Driver) -> list[Item]:
    return [item async for item in scan_all(driver, "")]


async def test_a_channel_can_be_deleted(persistence: Persistence) -> None:
    async with persistence.events(prune_interval=None) as queue:
        for channel in ("gone", "stays"):
            for n in range(3):
                cursor = await queue.publish(channel, n)
            await queue.ack("consumer", channel, cursor)
        assert await queue.delete("gone")
        assert not await queue.delete("gone")
        assert await queue.channels() == ["stays"]
        assert (await queue.recover("gone")).events == []
        assert await queue.get_cursor("consumer", "gone") is None
        assert await queue.get_cursor("consumer", "stays") == cursor
        assert [event.event for event in (await queue.recover("stays")).events] == [0, 1, 2]
        later = await queue.publish("gone", "anew")
        assert later > cursor, "a cursor never means another event"
        assert [event.event for event in (await queue.recover("gone", cursor)).events] == ["anew"]
        with pytest.raises(InvalidCursorError):
            await queue.recover("gone", "0000000000000009")


async def test_nothing_of_a_deleted_channel_stays_for_ever() -> None:
    async with MemoryDriver() as driver, create_persistence(driver) as persistence:
        before = {item.key for item in await items(driver)}
        async with persistence.events(prune_interval=None) as queue:
            await queue.publish("c", 1)
            await queue.ack("consumer", "c", "0" * 16)
            await queue.delete("c")
        await persistence.collect_garbage()
        left = [item for item in await items(driver) if item.key not in before]
        assert len(left) == 1
        assert all(item.ttl_ms is not None and item.ttl_ms <= MONTH_MS for item in left)


async def test_nothing_of_a_deleted_state_stays_for_ever() -> None:
    async with MemoryDriver() as driver, create_persistence(driver) as persistence:
        before = {item.key for item in await items(driver)}
        state = persistence.state(dict, "agent", factory=dict, history=3)
        for n in range(5):
            async with state as held:
                held["n"] = n
        assert await state.clear_state(history=True)
        left = [item for item in await items(driver) if item.key not in before]
        assert len(left) == 2, "the fence, and the numbers of the revisions"
        assert all(item.ttl_ms is not None and item.ttl_ms <= MONTH_MS for item in left)
        async with state as held:
            assert held == {}
            held["n"] = 1
        (revision,) = await state.history.list()
        assert revision.number == 6, "numbers go on"
        assert [item.key for item in await items(driver) if item.ttl_ms is not None] == []
        assert not await persistence.state(dict, "other", factory=dict).clear_state()
