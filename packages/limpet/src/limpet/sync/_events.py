"""The event queue, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Self

from ..stores import Event, Recovered
from ..stores import EventQueue as AsyncEventQueue
from ._callbacks import in_thread
from ._face import Root
from ._listing import Listing

__all__ = ["EventQueue"]


class EventQueue(Root[AsyncEventQueue]):
    """Channels of events, each in the order that the store assigns. Created by `persistence.events()` and `create_queue`.

    An event is stored when `publish` returns. If `publish` raises, repeat it: only after `OutcomeUnknownError` can the
    event be stored twice. Every subscriber sees all events from its start, in order; events after its last ack come
    again.
    """

    def publish(self, channel: str, event: Any) -> str:
        """Store an event (JSON; models, dates and so on are converted), notify the subscribers, and return its cursor.

        One driver call once the channel is known; concurrent calls travel together. Raises `InvalidValueError` for a
        value that would come back changed, and `TooLargeError`.
        """
        return self._call(self._inner.publish, channel, event)

    def recover(self, channel: str, after: str | None = None, *, limit: int = 1000) -> Recovered:
        """Return at most `limit` events after a cursor (`None`: from the first one left); none for an unknown channel.

        The page ends before an unreadable event. If that is the first one, its `CorruptDataError` is raised; continue
        with `error.cursor`. Raises `InvalidCursorError` for a cursor that this channel did not issue.
        """
        return self._call(self._inner.recover, channel, after, limit=limit)

    def stream(
        self, channel: str, *, after: str | None = None, consumer: str | None = None
    ) -> Generator[Event, None, None]:
        """Yield past and live events without gaps or duplicates: all after `after`, or after a consumer's last ack.

        `after` takes precedence over the ack. Without either, starts with the first event that is left. Ends with the
        queue. Raises `CorruptDataError` for an unreadable event (continue with `error.cursor`), `EventsLostError` if
        the reader fell behind the retention, `InvalidCursorError` for a cursor that this channel did not issue.
        """
        return self._iterate(self._inner.stream(channel, after=after, consumer=consumer))

    def subscribe(
        self,
        channel: str,
        callback: Callable[[Event], object],
        *,
        after: str | None = None,
        consumer: str | None = None,
    ) -> Callable[[], None]:
        """Call back with every event from now on, or after `after` or a consumer's last ack; return how to end it.

        `after` takes precedence over the ack; a consumer without an ack starts with the first event that is left. The
        callback gets one call at a time, in order. Errors that it raises,
        events lost because it fell behind the retention, and unreadable events are logged (`limpet`); then the next
        event follows. Raises `InvalidCursorError` for a cursor that this channel did not issue.
        """
        return self._ending(self._inner.subscribe, channel, in_thread(callback), after=after, consumer=consumer)

    def ack(self, consumer: str, channel: str, cursor: str) -> None:
        """Note that a consumer has seen everything up to this cursor. Acknowledgements only move forward.

        Raises `InvalidCursorError` for a cursor that this channel did not issue.
        """
        self._call(self._inner.ack, consumer, channel, cursor)

    def get_cursor(self, consumer: str, channel: str) -> str | None:
        """Return what a consumer last acknowledged; `None` if it never did, or so long ago that it was forgotten."""
        return self._call(self._inner.get_cursor, consumer, channel)

    def prune(self) -> int:
        """Delete the events that need not be kept; return how many. Any process can call this at any time."""
        return self._call(self._inner.prune)

    def channels(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """List every channel that has events, or had some at the last `prune`, in the driver's order of names."""
        return Listing(self._portal, self._inner.channels(limit=limit, cursor=cursor))

    def delete(self, channel: str) -> bool:
        """Delete a channel with its events and acknowledgements; return whether there was one.

        Publishing creates it again. Its numbering continues for a month, so a cursor never refers to another event.
        """
        return self._call(self._inner.delete, channel)

    def __enter__(self) -> Self:
        if not self._is_root:  # else it was started when it was opened
            self._call(self._inner.start)
        return self
