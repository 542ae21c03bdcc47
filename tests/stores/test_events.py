"""The event queue: stored before it is told, one order for everybody, no gap between history and live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from limpet import (
    ClosedError,
    ConfigurationError,
    EventsLostError,
    InvalidCursorError,
    InvalidValueError,
    Persistence,
    create_persistence,
)
from limpet.events import EventQueue, create_queue
from limpet.records import UserMessage
from limpet_conformance.faults import skewed


@pytest.fixture
async def queue(persistence: Persistence) -> AsyncIterator[EventQueue]:
    async with persistence.events(prune_interval=None, poll=0.05) as queue:
        yield queue


async def first(queue: EventQueue, count: int, channel: str = "s", **where: Any) -> list[Any]:
    """The first `count` events of a stream."""
    seen = []
    async with asyncio.timeout(20):
        async for event in queue.stream(channel, **where):
            seen.append(event.event)
            if len(seen) == count:
                break
    return seen


async def test_the_way_of_an_event(queue: EventQueue) -> None:
    cursor = await queue.publish("s", {"type": "text_delta", "data": {"text": "Hello"}})
    later = await queue.publish("s", [1, None, "x"])
    assert cursor < later
    found = await queue.recover("s")
    assert [event.cursor for event in found.events] == [cursor, later]
    assert [event.event for event in found.events] == [
        {"type": "text_delta", "data": {"text": "Hello"}},
        [1, None, "x"],
    ]
    assert (found.has_more, found.lost) == (False, 0)
    assert abs(datetime.now(UTC) - found.events[0].published_at) < timedelta(minutes=1)
    assert [event.event for event in (await queue.recover("s", cursor)).events] == [[1, None, "x"]]
    assert (await queue.recover("s", later)).events == []
    assert (await queue.recover("nobody")).events == []


async def test_a_page_says_whether_there_is_more(queue: EventQueue) -> None:
    for n in range(5):
        await queue.publish("s", n)
    page = await queue.recover("s", "", limit=3)
    assert ([event.event for event in page.events], page.has_more) == ([0, 1, 2], True)
    page = await queue.recover("s", page.events[-1].cursor, limit=3)
    assert ([event.event for event in page.events], page.has_more) == ([3, 4], False)


async def test_history_then_live_without_a_gap_or_a_double(queue: EventQueue) -> None:
    async def publish() -> None:
        for n in range(100, 200):
            await queue.publish("s", n)
            if n % 10 == 0:
                await asyncio.sleep(0.001)

    for n in range(100):
        await queue.publish("s", n)
    streams = [asyncio.create_task(first(queue, 200)) for _ in range(3)]
    await asyncio.sleep(0)
    await publish()
    for seen in await asyncio.gather(*streams):
        assert seen == list(range(200))


async def test_many_publishers_share_one_order(queue: EventQueue) -> None:
    cursors = await asyncio.gather(*(queue.publish("s", n) for n in range(100)))
    assert len(set(cursors)) == 100
    in_order = [n for _, n in sorted(zip(cursors, range(100), strict=True))]
    assert await first(queue, 100) == in_order


async def test_subscribers_are_called_back_in_order_until_they_leave(queue: EventQueue) -> None:
    await queue.publish("s", "before")
    heard: list[Any] = []
    waited: list[Any] = []
    done = asyncio.Event()

    async def slow(event: Any) -> None:
        await asyncio.sleep(0.001)
        waited.append(event.event)
        if event.event == 9:
            done.set()

    unsubscribe = await queue.subscribe("s", lambda event: heard.append(event.event))
    await queue.subscribe("s", slow, after="")
    for n in range(10):
        await queue.publish("s", n)
    async with asyncio.timeout(20):
        await done.wait()
        while len(heard) < 10:  # noqa: ASYNC110 - a plain list tells nobody
            await asyncio.sleep(0.01)
    assert heard == list(range(10))
    assert waited == ["before", *range(10)]
    await unsubscribe()
    await queue.publish("s", 10)
    await asyncio.sleep(0.1)
    assert heard == list(range(10))


async def test_a_callback_that_raises_goes_on(queue: EventQueue, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    done = asyncio.Event()

    def callback(event: Any) -> None:
        seen.append(event.event)
        if event.event == 1:
            done.set()
        raise ZeroDivisionError

    await queue.subscribe("s", callback)
    with caplog.at_level(logging.ERROR, logger="limpet"):
        await queue.publish("s", 0)
        await queue.publish("s", 1)
        async with asyncio.timeout(20):
            await done.wait()
        await asyncio.sleep(0.01)
    assert seen == [0, 1]
    assert "ZeroDivisionError" in caplog.text


async def test_acks_only_move_forward_and_must_be_cursors_of_the_channel(queue: EventQueue) -> None:
    cursors = [await queue.publish("s", n) for n in range(4)]
    assert await queue.get_cursor("c", "s") is None
    await queue.ack("c", "s", cursors[2])
    await queue.ack("c", "s", cursors[1])
    assert await queue.get_cursor("c", "s") == cursors[2]
    await asyncio.gather(*(queue.ack("d", "s", cursor) for cursor in reversed(cursors)))
    assert await queue.get_cursor("d", "s") == cursors[3]
    for wrong in ("9" * 16, "x", "", "0000000000000004"):
        with pytest.raises(InvalidCursorError):
            await queue.ack("c", "s", wrong)
    with pytest.raises(InvalidCursorError):
        await queue.ack("c", "another", cursors[0])
    assert await first(queue, 1, consumer="c") == [3]


async def test_consumers_are_forgotten_in_time(persistence: Persistence) -> None:
    async with persistence.events(prune_interval=None, consumer_ttl=timedelta(milliseconds=50)) as queue:
        cursor = await queue.publish("s", 0)
        await queue.ack("c", "s", cursor)
        await asyncio.sleep(0.1)
        with skewed(-600):
            assert await queue.get_cursor("c", "s") is None


async def test_what_is_kept_by_count_and_who_fell_behind_is_told(persistence: Persistence) -> None:
    async with persistence.events(retention=None, max_count=3, prune_interval=None) as queue:
        cursors = [await queue.publish("s", n) for n in range(10)]
        assert await queue.prune() == 7
        assert await queue.prune() == 0
        assert await first(queue, 3) == [7, 8, 9]
        page = await queue.recover("s", cursors[1])
        assert ([event.event for event in page.events], page.lost) == ([7, 8, 9], 5)
        with pytest.raises(EventsLostError, match="5 events of the channel 's'") as caught:
            await first(queue, 1, after=cursors[1])
        assert await first(queue, 3, after=caught.value.resume) == [7, 8, 9]
        assert await first(queue, 1, after=cursors[8]) == [9]


async def test_a_reader_is_told_though_nothing_is_left(persistence: Persistence) -> None:
    async with persistence.events(retention=timedelta(milliseconds=50), prune_interval=None) as queue:
        cursors = [await queue.publish("s", n) for n in range(5)]
        await asyncio.sleep(0.1)
        assert await queue.prune() == 5
        page = await queue.recover("s", cursors[1])
        assert (page.events, page.lost) == ([], 3)
        assert (await queue.recover("s", cursors[4])).lost == 0
        with pytest.raises(EventsLostError, match="3 events") as caught:
            await first(queue, 1, after=cursors[1])
        assert caught.value.resume == cursors[4]


async def test_an_empty_channel_is_removed_and_its_cursors_stay_true(persistence: Persistence) -> None:
    async with persistence.events(retention=timedelta(milliseconds=50), prune_interval=None) as queue:
        cursor = await queue.publish("s", "old")
        await queue.ack("c", "s", cursor)
        live = asyncio.create_task(first(queue, 1, after=cursor))
        await asyncio.sleep(0.1)
        await queue.prune()
        assert await queue.channels() == []
        assert await queue.publish("s", "new") > cursor
        assert await live == ["new"]
        assert await first(queue, 1, consumer="c") == ["new"]
        assert await queue.channels() == ["s"]


async def test_a_cursor_from_elsewhere_is_refused(queue: EventQueue) -> None:
    await queue.publish("s", 0)
    for wrong in ("x", "0000000000000001"):
        with pytest.raises(InvalidCursorError):
            await queue.recover("s", wrong)
        with pytest.raises(InvalidCursorError):
            await first(queue, 1, after=wrong)
        with pytest.raises(InvalidCursorError):
            await queue.subscribe("s", print, after=wrong)


async def test_what_is_kept_by_time(persistence: Persistence) -> None:
    async with persistence.events(retention=timedelta(seconds=1), prune_interval=None) as queue:
        await queue.publish("s", "old")
        await asyncio.sleep(1.1)
        await queue.publish("s", "new")
        with skewed(3600):
            assert await queue.prune() == 1
        assert await first(queue, 1) == ["new"]


async def test_what_everybody_has_acknowledged_may_go(persistence: Persistence) -> None:
    async with persistence.events(retention=None, acknowledged=True, prune_interval=None) as queue:
        cursors = [await queue.publish("s", n) for n in range(6)]
        assert await queue.prune() == 0, "nobody has said anything"
        await queue.ack("fast", "s", cursors[4])
        await queue.ack("slow", "s", cursors[1])
        assert await queue.prune() == 2
        assert await first(queue, 4) == [2, 3, 4, 5]
        await queue.ack("slow", "s", cursors[5])
        assert await queue.prune() == 3


async def test_house_is_kept_by_itself(persistence: Persistence) -> None:
    async with persistence.events(retention=None, max_count=1, prune_interval=timedelta(milliseconds=20)) as queue:
        for n in range(3):
            await queue.publish("s", n)
        async with asyncio.timeout(20):
            while len((await queue.recover("s")).events) > 1:  # noqa: ASYNC110 - upkeep tells nobody
                await asyncio.sleep(0.02)


async def test_long_events_and_models(queue: EventQueue) -> None:
    long = {"text": "é" * 800_000}
    await queue.publish("s", long)
    await queue.publish("s", UserMessage(content="Hello"))
    events = (await queue.recover("s")).events
    assert events[0].event == long
    assert events[1].event["content"] == "Hello"
    with pytest.raises(InvalidValueError, match="JSON"):
        await queue.publish("s", object())
    assert len((await queue.recover("s")).events) == 2


async def test_channels_of_any_name(queue: EventQueue) -> None:
    names = {"a", "a!b", "é" * 300, "", "a:b/../c"}
    for name in names:
        await queue.publish(name, name)
    for name in names:
        assert await first(queue, 1, name) == [name]
    assert set(await queue.channels()) == names


async def test_a_closed_queue_ends_its_streams_and_says_so(persistence: Persistence) -> None:
    queue = persistence.events(poll=0.05)
    async with queue:
        await queue.publish("s", 0)
        stream = asyncio.create_task(first(queue, 2))
        await asyncio.sleep(0.05)
    assert await stream == [0]
    with pytest.raises(ClosedError):
        await queue.publish("s", 1)
    await queue.aclose()


async def test_another_process_is_heard(url: str) -> None:
    """Two openings of one place, as two processes have them."""
    if "memory" in url:
        pytest.skip("memory is one process's own")
    async with create_persistence(url) as one, create_queue(url, poll=0.05) as other, one.events() as queue:
        await queue.publish("s", "there")
        stream = asyncio.create_task(first(other, 3))
        await asyncio.sleep(0.1)
        await queue.publish("s", "live")
        await queue.publish("s", "again")
        assert await stream == ["there", "live", "again"]


async def test_a_queue_may_be_closed_while_its_streams_read(url: str) -> None:
    """Whatever a stream is doing at that moment, it ends and does not fail."""
    for n in range(20):
        queue = await create_queue(url, prune_interval=None, poll=0.01)
        await queue.publish("s", n)
        streams = [asyncio.create_task(first(queue, 1000)) for _ in range(3)]
        for _ in range(n):
            await asyncio.sleep(0)
        await queue.aclose()
        ended = await asyncio.gather(*streams, return_exceptions=True)
        assert all(isinstance(seen, list) or (n == 0 and isinstance(seen, ClosedError)) for seen in ended), ended


async def test_a_namespace_has_channels_and_a_retention_of_its_own(persistence: Persistence) -> None:
    plain = persistence.events(retention=None, prune_interval=None)
    brief = persistence.events(retention=timedelta(milliseconds=1), prune_interval=None, namespace="brief")
    other = persistence.events(max_count=1, retention=None, prune_interval=None, namespace="brief-too")
    for queue in (plain, brief, other):
        for n in range(3):
            await queue.publish("s", n)
        await queue.ack("c", "s", (await queue.recover("s")).events[0].cursor)
    await asyncio.sleep(0.05)
    assert (await plain.prune(), await brief.prune(), await other.prune()) == (0, 3, 2)
    left = [[event.event for event in (await queue.recover("s")).events] for queue in (plain, brief, other)]
    assert left == [[0, 1, 2], [], [2]]
    assert [list(await queue.channels()) for queue in (plain, brief, other)] == [["s"], [], ["s"]]
    assert (await other.delete("s"), await other.get_cursor("c", "s")) == (True, None)
    assert await plain.get_cursor("c", "s") is not None
    for queue in (plain, brief, other):
        await queue.aclose()


@pytest.mark.parametrize("namespace", ["", "channels.acks", "A", "1", "a b", "x" * 65])
def test_what_is_no_namespace(persistence: Persistence, namespace: str) -> None:
    with pytest.raises(ConfigurationError, match="namespace is"):
        persistence.events(namespace=namespace)
