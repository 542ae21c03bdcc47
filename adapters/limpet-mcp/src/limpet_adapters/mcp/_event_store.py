"""The events of an MCP server's streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from limpet import ConfigurationError, CorruptDataError, InvalidCursorError, LimpetError, Persistence, open_persistence
from limpet.driver import number
from pydantic import TypeAdapter, ValidationError

from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp.types import JSONRPCMessage

from ._event_ids import EventPosition
from ._sessions import Request, Sessions, current

__all__ = ["LimpetEventStore"]

_logger = logging.getLogger("limpet")
_messages: TypeAdapter[Any] = TypeAdapter(JSONRPCMessage)
_PAGE = 100
_AT_MOST = 1.0
"""Seconds that the other events of a session wait for a client that resumes a stream."""


class LimpetEventStore(EventStore):
    """Events of MCP streams on any database that Limpet supports. Each session has a channel, in the order of its events.

        store = LimpetEventStore(persistence)
        app = server.streamable_http_app(event_store=store)
        app.add_middleware(ResumableSessions, event_store=store)

    The SDK gives the streams of all sessions the same ids. `ResumableSessions` says which session a stream belongs to, so that
    no client gets the events of another; without it, nothing is stored.
    """

    def __init__(
        self,
        persistence: Persistence,
        *,
        retention: timedelta = timedelta(hours=1),
        max_count: int | None = 10_000,
        prune_interval: timedelta = timedelta(minutes=5),
    ) -> None:
        """`persistence` comes from `open_persistence`, or from `create_persistence` for one event loop; it is never closed here.

        Events are kept for `retention`, and the newest `max_count` of each session (`None`: all). One process prunes every
        `prune_interval`, from the first event that it stores.
        """
        self._queue = persistence.events(
            namespace="mcp", retention=retention, max_count=max_count, prune_interval=prune_interval
        )
        self.sessions = Sessions(persistence, retention)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._is_pruning = False

    @classmethod
    @asynccontextmanager
    async def from_url(cls, url: str, **options: Any) -> AsyncIterator[Self]:
        """A store on the database at `url`, closed at the end of the block. `options` are those of the store and of `open_persistence`."""
        own = {name: options.pop(name) for name in ("retention", "max_count", "prune_interval") if name in options}
        async with open_persistence(url, **options) as persistence, cls(persistence, **own) as store:
            yield store

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Store a message of the current session's stream, or `None` for its beginning, and return the event's id.

        What cannot be stored is an error in the log, and gets the id `""`: it is delivered, but not delivered again. Raises
        `ConfigurationError` outside of `ResumableSessions`.
        """
        request = _request()
        if message is not None:
            async with self._turn(request.session.name):  # not while a client is between stored and live events
                return await self._stored(request, stream_id, message)
        event_id = await self._stored(request, stream_id, None)
        if request.is_kept:
            request.beginning = event_id
            asyncio.get_running_loop().call_later(_AT_MOST, request.go_on)
        return event_id

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Send what followed an event on its stream, in order; return the stream's id.

        `None` for an id that is not of an event of the current session. Events that can no longer be read, or have been
        pruned, are left out, with a warning in the log.
        """
        request = _request()
        at = EventPosition.parse(last_event_id)
        if at is None or at.session != request.session.name:
            return None
        stream, seen = at.stream, at.number
        try:
            while True:
                async for n, stream_id, message in self._after(at):
                    stream, seen = stream_id, n
                    if message is not None:
                        await send_callback(message)
                at = replace(at, number=seen)
                if request.is_kept:
                    break
                # Once more, while nothing else is stored: what follows is sent by the SDK.
                await request.keep(self._turn(request.session.name))
        except InvalidCursorError:  # a number that no event of the session has
            return None
        finally:
            if request.is_kept and not (stream and request.is_primed):
                asyncio.get_running_loop().call_soon(request.go_on)
        return stream

    async def messages_after(self, at: EventPosition) -> AsyncIterator[EventMessage]:
        """Yield the messages that followed an event on its stream. Raises `InvalidCursorError` if its session has no such event."""
        async for _, _, message in self._after(at):
            if message is not None:
                yield message

    async def _after(self, at: EventPosition) -> AsyncIterator[tuple[int, StreamId, EventMessage | None]]:
        """Yield events of a stream from a position on: the number, the stream's id, and the message, if it follows the position."""
        cursor: str | None = number(at.number)
        if at.stream is None:  # named by the event itself, if it is still there
            cursor = number(at.number - 1) if at.number else None
        has_more = True
        while has_more:
            try:
                page = await self._queue.recover(at.session, cursor, limit=_PAGE)
            except CorruptDataError as error:
                if error.cursor is None:
                    raise
                _logger.warning("an event of an MCP stream was left out, since it cannot be read: %s", error)
                cursor = error.cursor
                continue
            if page.lost:
                _logger.warning("%d events of an MCP session were pruned before they were delivered again", page.lost)
            for event in page.events:
                cursor = event.cursor
                if at.is_on(event.event["stream"]):
                    yield int(cursor), event.event["stream"], _message(at, int(cursor), event.event)
            has_more = page.has_more

    async def delete_session(self, session_id: str) -> None:
        """Forget a session that its client has ended, and its events."""
        session = await self.sessions.remove(session_id)
        if session is not None:
            await self._queue.delete(session.name)

    async def aclose(self) -> None:
        """End pruning. Safe to repeat; the database stays open."""
        await self._queue.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _stored(self, request: Request, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        event: dict[str, Any] = {"stream": stream_id}
        try:
            if message is not None:
                event["message"] = message.model_dump_json(by_alias=True, exclude_unset=True)
            await self._start()
            cursor = await self._queue.publish(request.session.name, event)
        except (LimpetError, ValueError) as error:
            _logger.error("an event of an MCP stream could not be stored, and cannot be resumed after: %s", error)
            return ""
        return str(EventPosition.of(request.session.name, int(cursor), stream_id))

    def _turn(self, session: str) -> asyncio.Lock:
        return self._turns.setdefault(session, asyncio.Lock())

    async def _start(self) -> None:
        if not self._is_pruning:
            self._is_pruning = True
            try:
                await self._queue.start()
            except LimpetError:
                self._is_pruning = False
                raise


def _message(at: EventPosition, n: int, event: dict[str, Any]) -> EventMessage | None:
    """The message in an event that follows a position; `None` for the beginning of a stream, and for an earlier event."""
    if n <= at.number or "message" not in event:
        return None
    try:
        message = _messages.validate_json(event["message"])
    except ValidationError:
        _logger.warning("event %d of an MCP session was left out, since it contains no message", n)
        return None
    return EventMessage(message, str(EventPosition(at.session, n, at.name)))


def _request() -> Request:
    request = current.get()
    if request is None:
        raise ConfigurationError(
            "an event of no session: MCP's stream ids are the same in all sessions, so put "
            "app.add_middleware(ResumableSessions, event_store=store) around the application"
        )
    return request
