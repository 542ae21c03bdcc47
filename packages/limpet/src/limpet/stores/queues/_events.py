"""The event queue: channels of events that are stored before they are delivered, in the same order for everyone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, TypeAlias

from ..._arguments import checked_arguments
from ..._errors import (
    ClosedError,
    ConfigurationError,
    CorruptDataError,
    EventsLostError,
    ForkedError,
    InvalidCursorError,
    InvalidValueError,
    LimpetError,
    NotFoundError,
)
from ..._json import dump_plain
from ..._run_to_end import run_to_end
from ...driver import Delete, Driver, If, Put, Range, Write, number
from ...driver.kit import backend_now_ms, scan_all
from ...structures import (
    KeysBelow,
    Listing,
    Log,
    LogCache,
    Plan,
    ReadSet,
    afterwards,
    collect_now,
    log_skipped,
    stamp_value,
    transact,
)
from ...wrappers import ensure_owner
from .._durations import duration_to_ms
from .._formats import EVENT
from ..upkeep import Retention, Upkeep, trim_log
from ._channels import create_channel, remove_if_empty
from ._event_documents import (
    Event,
    EventKeys,
    Recovered,
    acknowledged,
    position_of,
    to_event,
)
from ._wakeups import Wakeups

__all__ = ["Callback", "EventQueue", "Unsubscribe"]

_PAGE = 100
_logger = logging.getLogger("limpet")


Callback: TypeAlias = Callable[[Event], Awaitable[object] | object]
Unsubscribe: TypeAlias = Callable[[], Awaitable[None]]


@checked_arguments
class EventQueue:
    """Channels of events, each in the order that the store assigns. Created by `persistence.events()` and `create_queue`.

    An event is stored when `publish` returns. If `publish` raises, repeat it: only after `OutcomeUnknownError` can the
    event be stored twice. Every subscriber sees all events from its start, in order; events after its last ack come
    again.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        retention: timedelta | None = timedelta(hours=24),
        max_count: int | None = None,
        acknowledged: bool = False,
        consumer_ttl: timedelta = timedelta(days=7),
        prune_interval: timedelta | None = timedelta(minutes=5),
        poll: float = 0.5,
        namespace: str | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Keep events for `retention` (`None`: no limit), and at most `max_count` events per channel.

        With `acknowledged`, also delete what every consumer of its channel has acknowledged; a channel without
        consumers keeps everything. A consumer that acknowledges nothing for `consumer_ttl` is forgotten.
        `prune_interval` is how often one of all open queues prunes (`None`: only `prune` does). `poll` is how many
        seconds pass before a subscriber looks again if the driver has no change notifications. Channels of a `namespace`
        (`a-z`, digits, `_`, `-`) are apart from all others, and so is their pruning: use one for another retention.
        """
        if poll <= 0:
            raise ConfigurationError(f"poll is {poll}: pass more than 0 seconds")
        self._driver = driver
        self._keys = EventKeys.of(namespace)
        self._retention = None
        if retention is not None or max_count is not None:
            self._retention = Retention(max_age=retention, max_count=max_count)
        self._acknowledged = acknowledged
        self._consumer_ttl = duration_to_ms(consumer_ttl, "consumer_ttl")
        self._wakeups = Wakeups(driver, self._keys.logs, poll)
        self._upkeep = None
        if prune_interval is not None:
            self._upkeep = Upkeep(driver, self.prune, prune_interval, name=self._keys.upkeep)
        self._subscribers: set[asyncio.Task[None]] = set()
        self._close = close
        self._cache = LogCache()
        self._log = lru_cache(maxsize=4096)(lambda channel: Log(driver, self._keys.log(channel), self._cache))
        self._closed = False

    # Writing.

    async def publish(self, channel: str, event: Any) -> str:
        """Store an event (JSON; models, dates and so on are converted), notify the subscribers, and return its cursor.

        One driver call once the channel is known; concurrent calls travel together. Raises `InvalidValueError` for a
        value that would come back changed, and `TooLargeError`.
        """
        self._check()
        value = dump_plain(event, "the event", convert=True)
        if EVENT.version > 1:
            value = stamp_value(value, EVENT.version)
        log = self._log(channel)
        while True:
            try:
                seq = await log.append(value)
            except NotFoundError:  # new, or removed because it was empty
                await create_channel(self._driver, self._keys, log, channel)
            else:
                self._wakeups.wake(log.base)
                return number(seq)

    # Reading.

    async def recover(self, channel: str, after: str | None = None, *, limit: int = 1000) -> Recovered:
        """Return at most `limit` events after a cursor (`None`: from the first one left); none for an unknown channel.

        The page ends before an unreadable event. If that is the first one, its `CorruptDataError` is raised; continue
        with `error.cursor`. Raises `InvalidCursorError` for a cursor that this channel did not issue.
        """
        self._check()
        if limit < 1:
            raise InvalidValueError(f"limit is {limit}: it must be at least 1")
        position = position_of(after)
        entries = await self._log(channel).read(after=position, limit=limit + 1, past_damage=True)
        events: list[Event] = []
        for entry in entries[:limit]:
            try:
                events.append(to_event(channel, entry))
            except CorruptDataError:
                if not events:
                    raise
                break
        if entries:
            lost = 0 if position is None else entries[0].seq - position - 1
            return Recovered(events, len(entries) > len(events), lost)
        return Recovered([], False, await self._lost(channel, position))

    async def stream(
        self, channel: str, *, after: str | None = None, consumer: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield past and live events without gaps or duplicates: all after `after`, or after a consumer's last ack.

        `after` takes precedence over the ack. Without either, starts with the first event that is left. Ends with the
        queue. Raises `CorruptDataError` for an unreadable event (continue with `error.cursor`), `EventsLostError` if
        the reader fell behind the retention, `InvalidCursorError` for a cursor that this channel did not issue.
        """
        self._check()
        if consumer is not None and after is None:
            after = await self.get_cursor(consumer, channel)
        position = position_of(after)
        log, fresh = self._log(channel), True
        with self._wakeups.waiting(log.base) as woken:
            while not self._closed:
                woken.clear()  # before reading: whoever publishes from now on wakes us again
                try:
                    entries, more = await log.read_part(after=position, limit=_PAGE, past_damage=True)
                except ClosedError:
                    if self._closed:
                        return  # closed meanwhile
                    raise
                for entry in entries:
                    if position is not None and entry.seq > position + 1:
                        raise EventsLostError(channel, lost=entry.seq - position - 1, resume=number(entry.seq - 1))
                    position = entry.seq
                    yield to_event(channel, entry)  # an unreadable one raises an error with its cursor
                if not entries and fresh and (lost := await self._lost(channel, position)):
                    raise EventsLostError(channel, lost=lost, resume=number((position or 0) + lost))
                if not more:  # that was the end: there is more only if something woke us
                    await woken.wait()
                fresh = False

    async def subscribe(
        self, channel: str, callback: Callback, *, after: str | None = None, consumer: str | None = None
    ) -> Unsubscribe:
        """Call back with every event from now on, or after `after` or a consumer's last ack; return how to end it.

        `after` takes precedence over the ack; a consumer without an ack starts with the first event that is left. The
        callback gets one call at a time, in order; a coroutine is awaited. Errors that it raises,
        events lost because it fell behind the retention, and unreadable events are logged (`limpet`); then the next
        event follows. Raises `InvalidCursorError` for a cursor that this channel did not issue.
        """
        self._check()
        if consumer is not None and after is None:
            after = await self.get_cursor(consumer, channel)
        if after is None and consumer is None:
            (counter,) = await self._driver.get([self._log(channel).counter])
            after = number(int(str(counter.value)) - 1) if counter is not None and counter.value != "0" else None
        await self._lost(channel, position_of(after))
        task = asyncio.create_task(self._serve(channel, callback, after))
        self._subscribers.add(task)
        task.add_done_callback(self._subscribers.discard)

        async def unsubscribe() -> None:
            task.cancel()
            if task is not asyncio.current_task():
                await asyncio.wait([task])

        return unsubscribe

    # Acknowledgements.

    async def ack(self, consumer: str, channel: str, cursor: str) -> None:
        """Note that a consumer has seen everything up to this cursor. Acknowledgements only move forward.

        Raises `InvalidCursorError` for a cursor that this channel did not issue.
        """
        self._check()
        position = position_of(cursor)
        at, counter = self._keys.ack(channel, consumer), self._log(channel).counter

        def plan(reads: ReadSet) -> Plan[None]:
            following = reads[counter]
            if position is None or following is None or position >= int(str(following.value)):
                raise InvalidCursorError(
                    f"{cursor!r} is not a cursor of the channel {channel!r}: pass cursors on unchanged"
                )
            seen = reads[at]
            furthest = position if seen is None else max(position, acknowledged(str(seen.value)))
            return Plan([Put(at, str(furthest), If.ABSENT if seen is None else seen.etag, self._consumer_ttl)], None)

        await transact(self._driver, [at, counter], plan)

    async def get_cursor(self, consumer: str, channel: str) -> str | None:
        """Return what a consumer last acknowledged; `None` if it never did, or so long ago that it was forgotten."""
        self._check()
        (item,) = await self._driver.get([self._keys.ack(channel, consumer)])
        return None if item is None else number(acknowledged(str(item.value)))

    # Upkeep.

    async def prune(self) -> int:
        """Delete the events that need not be kept; return how many. Any process can call this at any time."""
        removed = 0
        now = await backend_now_ms(self._driver)
        async for item in scan_all(self._driver, self._keys.channels):
            channel = str(item.value)
            try:
                log = self._log(channel)
                if self._retention is not None:
                    removed += await trim_log(log, self._retention, now)
                if self._acknowledged:
                    acks = scan_all(self._driver, self._keys.acks_of(channel))
                    seen = [acknowledged(str(ack.value)) async for ack in acks]
                    removed += await log.trim(min(seen) + 1) if seen else 0
                await remove_if_empty(self._driver, self._keys, log, channel)
            except CorruptDataError as error:
                log_skipped(error)
        return removed

    def channels(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """List every channel that has events, or had some at the last `prune`, in the driver's order of names."""
        self._check()
        base = self._keys.channels

        async def fetch(position: str | None, count: int) -> tuple[Sequence[str], str | None]:
            page = await self._driver.scan(Range(base, after=position, limit=count))
            return [str(item.value) for item in page.items], page.next

        return Listing(["channels"], fetch, limit=limit, cursor=cursor, positions=KeysBelow(base))

    async def delete(self, channel: str) -> bool:
        """Delete a channel with its events and acknowledgements; return whether there was one.

        Publishing creates it again. Its numbering continues for a month, so a cursor never refers to another event.
        """
        self._check()
        log = self._log(channel)

        def plan(reads: ReadSet) -> Plan[list[Write]]:
            writes = log.plan_delete(reads)
            return Plan([*writes, Delete(self._keys.listed(channel))] if writes else [], writes)

        writes = await transact(self._driver, log.keys, plan)
        await collect_now(self._driver, writes)
        await afterwards(self._driver.clear(self._keys.acks_of(channel)))
        self._wakeups.wake(log.base)
        return bool(writes)

    async def aclose(self) -> None:
        """End all streams and subscriptions, then close what belongs to the queue. Closing twice does nothing."""
        if self._closed:
            return
        ensure_owner(self._driver)
        self._closed = True
        running = asyncio.get_running_loop()  # in a forked child, the parent's tasks never end
        tasks = [t for t in self._subscribers if t is not asyncio.current_task() and t.get_loop() is running]
        for task in tasks:
            task.cancel()
        await run_to_end(self._end(tasks))

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        if tasks:
            await asyncio.wait(tasks)
        if self._upkeep is not None:
            await self._upkeep.__aexit__(None, None, None)
        await self._wakeups.close()
        if self._close is not None:
            await self._close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Start pruning in the background. `async with` does this."""
        if self._upkeep is not None:
            await self._upkeep.__aenter__()

    # How.

    async def _lost(self, channel: str, position: int | None) -> int:
        """Return how many events after a position are gone, if a read found none after it."""
        if position is None:
            return 0
        log = self._log(channel)
        (counter,) = await self._driver.get([log.counter])
        following = 0 if counter is None else int(str(counter.value))
        if position >= following:
            raise InvalidCursorError(
                f"{number(position)!r} is not a cursor of the channel {channel!r}: read it from the start"
            )
        entries = await log.read(after=position, limit=1, past_damage=True)  # again: one may have arrived since
        return (entries[0].seq if entries else following) - position - 1

    async def _serve(self, channel: str, callback: Callback, after: str | None) -> None:
        while True:
            try:
                async for event in self.stream(channel, after=after):
                    after = event.cursor
                    await self._call(callback, event)
                return
            except EventsLostError as lost:
                _logger.warning("%s", lost)
                after = lost.resume
            except CorruptDataError as error:
                if error.cursor is None:
                    raise
                _logger.error("%s. The subscription continues after it", error)
                after = error.cursor
            except (ClosedError, ForkedError):
                return
            except LimpetError as error:
                if self._closed:
                    return
                _logger.warning("a subscription to %r failed and will be retried: %s", channel, error)
                await asyncio.sleep(self._wakeups.poll)

    async def _call(self, callback: Callback, event: Event) -> None:
        try:
            result = callback(event)
            if isinstance(result, Awaitable):
                await result
        except Exception:
            _logger.exception("a callback on %r failed at %s", event.channel, event.cursor)

    def _check(self) -> None:
        if self._closed:
            raise ClosedError("the queue is closed: open a new one")
