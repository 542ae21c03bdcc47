"""The flaws of AgentX's event queue that somebody reproduced.

As in `conftest`: each test runs on Limpet and on a small model of the old design, where it has to fail.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from limpet import EventsLostError, LimpetError
from limpet.events import EventQueue, create_queue
from limpet_conformance.faults import skewed

Seen = Callable[[Any], object]


class OldDesign:
    """One instance of v1.9.0: cursors from the clock, a broadcast within the process, failures logged and swallowed."""

    def __init__(self, place: Path, retention: float, limit: int | None) -> None:
        self.db = sqlite3.connect(place, isolation_level=None)
        self.db.execute(
            "create table if not exists entries(cursor text not null unique, topic text, event text, at real)"
        )
        self.db.execute(
            "create table if not exists consumers(id text, topic text, cursor text, primary key(id, topic))"
        )
        self.retention = retention
        self.handlers: list[tuple[str, Seen]] = []
        self.last, self.count = -1, 0
        self.closed = False

    async def publish(self, topic: str, event: Any) -> str:
        if self.closed:
            return ""
        now = int(time.time() * 1000)
        self.count = self.count + 1 if now == self.last else 0
        self.last = now
        cursor = f"{now}-{self.count:04}"
        with suppress(sqlite3.Error, TypeError):  # logged
            row = (cursor, topic, json.dumps(event), time.time())
            self.db.execute("insert into entries values(?, ?, ?, ?)", row)
        for subscribed, handler in self.handlers:
            if subscribed == topic:
                handler(event)
        return cursor

    async def subscribe(self, topic: str, handler: Seen) -> None:
        self.handlers.append((topic, handler))

    async def read(self, topic: str, after: str | None = None) -> tuple[list[Any], bool, int]:
        """The events, whether it says that there are more, and how many it says are lost."""
        found = self.db.execute(
            "select event from entries where topic = ? and cursor > ? order by cursor limit 1000", (topic, after or "")
        )
        return [json.loads(event) for (event,) in found], False, 0

    async def follow(self, topic: str, seen: Seen, between: Callable[[], Awaitable[object]]) -> None:
        """History, then live, as its only caller does it."""
        events, _, _ = await self.read(topic)
        for event in events:
            seen(event)
        await between()
        await self.subscribe(topic, seen)

    async def ack(self, consumer: str, topic: str, cursor: str) -> None:
        self.db.execute("insert or replace into consumers values(?, ?, ?)", (consumer, topic, cursor))

    async def acked(self, consumer: str, topic: str) -> str | None:
        row = self.db.execute("select cursor from consumers where id = ? and topic = ?", (consumer, topic)).fetchone()
        return None if row is None else str(row[0])

    async def prune(self) -> None:
        self.db.execute("delete from entries where at < ?", (time.time() - self.retention,))

    async def full(self) -> None:
        """From here on nothing can be written."""
        self.db.execute("pragma query_only = 1")

    async def close(self) -> None:
        self.closed = True


class NewDesign:
    """The same on Limpet."""

    def __init__(self, queue: EventQueue) -> None:
        self.queue = queue
        self.following: list[asyncio.Task[None]] = []

    async def publish(self, topic: str, event: Any) -> str:
        return await self.queue.publish(topic, event)

    async def subscribe(self, topic: str, handler: Seen) -> None:
        await self.queue.subscribe(topic, lambda entry: handler(entry.event))

    async def read(self, topic: str, after: str | None = None) -> tuple[list[Any], bool, int]:
        page = await self.queue.recover(topic, after)
        return [entry.event for entry in page.events], page.has_more, page.lost

    async def follow(self, topic: str, seen: Seen, between: Callable[[], Awaitable[object]]) -> None:
        async def follow() -> None:
            async for entry in self.queue.stream(topic):
                seen(entry.event)

        self.following.append(asyncio.create_task(follow()))
        await asyncio.sleep(0.05)
        await between()

    async def ack(self, consumer: str, topic: str, cursor: str) -> None:
        await self.queue.ack(consumer, topic, cursor)

    async def acked(self, consumer: str, topic: str) -> str | None:
        return await self.queue.get_cursor(consumer, topic)

    async def prune(self) -> None:
        await self.queue.prune()

    async def full(self) -> None:
        await self.queue._driver.close()

    async def close(self) -> None:
        await self.queue.aclose()
        await asyncio.gather(*self.following)


Design = OldDesign | NewDesign
Make = Callable[..., Awaitable[Design]]
OLD = pytest.param(
    "old", marks=pytest.mark.xfail(strict=True, reason="the flaw of the old design", raises=AssertionError)
)


@pytest.fixture(params=["new", OLD])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """An instance on the one place that all of a test share; `retention` is in seconds."""
    made: list[Design] = []

    async def make(retention: float = 3600, limit: int | None = None, consumer_ttl: float = 3600) -> Design:
        if request.param == "old":
            made.append(OldDesign(tmp_path / "queue.db", retention, limit))
        else:
            url = f"sqlite:///{(tmp_path / 'new.db').as_posix()}"
            kept = timedelta(seconds=retention)
            forgotten = timedelta(seconds=consumer_ttl)
            queue = await create_queue(
                url, retention=kept, max_count=limit, consumer_ttl=forgotten, prune_interval=None, poll=0.02
            )
            made.append(NewDesign(queue))
        return made[-1]

    yield make
    for design in made:
        await design.close()
        if isinstance(design, OldDesign):
            design.db.close()


async def until(met: Callable[[], bool]) -> bool:
    """Whether it is so within a while."""
    for _ in range(100):
        if met():
            return True
        await asyncio.sleep(0.02)
    return False


async def test_two_instances_in_one_millisecond_store_both_events(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await make(), await make()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    cursors = {await one.publish("s", "a"), await other.publish("s", "b")}
    assert len(cursors) == 2
    assert (await one.read("s"))[0] == ["a", "b"]


async def test_more_than_ten_thousand_events_of_one_millisecond_stay_in_order(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = await make()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    cursors: list[str] = []
    for start in range(0, 10_002, 1667):
        cursors += await asyncio.gather(*(queue.publish("s", n) for n in range(start, start + 1667)))
    assert sorted(cursors)[-1] == cursors[-1]
    assert (await queue.read("s", cursors[9_998]))[0] == [9_999, 10_000, 10_001]


async def test_a_clock_that_is_set_back_hides_nothing(make: Make) -> None:
    queue = await make()
    cursor = await queue.publish("s", "before")
    with skewed(-600):
        later = await queue.publish("s", "after")
    assert later > cursor
    assert (await queue.read("s", cursor))[0] == ["after"]


async def test_acks_do_not_move_back(make: Make) -> None:
    queue = await make()
    cursors = [await queue.publish("s", n) for n in range(3)]
    await queue.ack("c", "s", cursors[2])
    await queue.ack("c", "s", cursors[0])
    assert await queue.acked("c", "s") == cursors[2]


async def test_a_cursor_that_was_never_given_out_is_not_acknowledged(make: Make) -> None:
    queue = await make()
    await queue.publish("s", 0)
    with suppress(LimpetError):
        await queue.ack("c", "s", "9999999999999-0000")
    assert await queue.acked("c", "s") is None


async def test_subscribers_of_another_instance_hear_it(make: Make) -> None:
    one, other = await make(), await make()
    heard: list[Any] = []
    await other.subscribe("s", heard.append)
    await one.publish("s", "hello")
    assert await until(lambda: heard == ["hello"])


async def test_an_event_that_cannot_be_stored_is_refused_loudly(make: Make) -> None:
    queue = await make()
    refused = False
    try:
        await queue.publish("s", object())
    except LimpetError:
        refused = True
    assert refused


async def test_nobody_hears_what_was_not_stored(make: Make) -> None:
    queue = await make()
    await queue.publish("s", 0)
    heard: list[Any] = []
    await queue.subscribe("s", heard.append)
    await queue.full()
    answered = None
    with suppress(LimpetError):
        answered = await queue.publish("s", "lost")
    await asyncio.sleep(0.05)
    assert (answered, heard) == (None, [])


async def test_a_closed_queue_says_so(make: Make) -> None:
    queue = await make()
    await queue.close()
    answered = None
    with suppress(LimpetError):
        answered = await queue.publish("s", "lost")
    assert answered is None


async def test_a_page_says_that_there_is_more(make: Make) -> None:
    queue = await make()
    await asyncio.gather(*(queue.publish("s", n) for n in range(1001)))
    events, more, _ = await queue.read("s")
    assert (len(events), more) == (1000, True)


async def test_who_comes_too_late_is_told(make: Make) -> None:
    queue = await make(retention=0.05)
    cursor = await queue.publish("s", 0)
    for n in (1, 2):
        await queue.publish("s", n)
    await asyncio.sleep(0.1)
    await queue.prune()
    assert await queue.read("s", cursor) == ([], False, 2)


async def test_nothing_is_missed_between_history_and_live(make: Make) -> None:
    queue = await make()
    await queue.publish("s", "history")
    heard: list[Any] = []

    async def between() -> None:
        await queue.publish("s", "between")

    with suppress(EventsLostError):
        await queue.follow("s", heard.append, between)
    await queue.publish("s", "live")
    assert await until(lambda: heard == ["history", "between", "live"])


async def test_a_consumer_that_is_gone_is_forgotten(make: Make) -> None:
    queue = await make(retention=0.05, consumer_ttl=0.05)
    await queue.ack("one connection", "s", await queue.publish("s", 0))
    await asyncio.sleep(0.1)
    await queue.prune()
    assert await queue.acked("one connection", "s") is None


async def test_the_number_that_a_topic_keeps_is_kept(make: Make) -> None:
    queue = await make(limit=2)
    for n in range(5):
        await queue.publish("s", n)
    await queue.prune()
    assert (await queue.read("s"))[0] == [3, 4]
