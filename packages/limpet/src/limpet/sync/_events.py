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

    An event is stored when `publish` returns. If it raises, repeat it; only after `OutcomeUnknownError` may the event
    be stored twice. Every subscriber sees every event from where it starts, in order, and again after its last ack.
    """

    def publish(self, channel: str, event: Any) -> str:
        """Store an event (JSON; models, dates and so on are converted), notify the subscribers, and return its cursor.

        One driver call once the channel is known; concurrent calls travel together. Raises `InvalidValueError` for
        a value that would come back as something else, and `TooLargeError`.
        """
        return self._call(self._inner.publish, channel, event)

    def recover(self, channel: str, after: str | None = None, *, limit: int = 1000) -> Recovered:
        """The events behind a cursor (`None`: from the first that is left), at most `limit`; none of an unknown channel.

        The page ends before an event that cannot be read; where it is the first one, its `CorruptDataError` is raised, and
        `error.cursor` leads on behind it. Raises `InvalidCursorError` for a cursor that this channel has not given out.
        """
        return self._call(self._inner.recover, channel, after, limit=limit)

    def stream(
        self, channel: str, *, after: str | None = None, consumer: str | None = None
    ) -> Generator[Event, None, None]:
        """History, then live, without a gap or a double: every event behind `after`, or behind a consumer's last ack.

        `after` goes before the ack. Without either from the first that is left. Ends with the queue. Raises `CorruptDataError` for an event that
        cannot be read (go on after `error.cursor`), `EventsLostError` for a reader that fell behind the retention, `InvalidCursorError` for a cursor that this channel has not given out.
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
        """Call back with every event from now on, or behind `after` or a consumer's last ack; return how to end it.

        `after` goes before the ack; a consumer without one begins with the first event that is left.
        One call at a time, in order. What a callback raises is logged (`limpet`), and so is
        what was lost because the callback fell behind the retention, or cannot be read; the next event comes all the same. Raises `InvalidCursorError`
        for a cursor that this channel has not given out.
        """
        return self._ending(self._inner.subscribe, channel, in_thread(callback), after=after, consumer=consumer)

    def ack(self, consumer: str, channel: str, cursor: str) -> None:
        """Note that a consumer has seen everything up to this cursor. It only ever moves forward.

        Raises `InvalidCursorError` for one that this channel has not given out.
        """
        self._call(self._inner.ack, consumer, channel, cursor)

    def get_cursor(self, consumer: str, channel: str) -> str | None:
        """What a consumer acknowledged last; `None` where it never did, or not for so long that it was forgotten."""
        return self._call(self._inner.get_cursor, consumer, channel)

    def prune(self) -> int:
        """Remove the events that are not kept; return how many. Any process may call it, at any time."""
        return self._call(self._inner.prune)

    def channels(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """Every channel that has events, or had some at the last `prune`, in the driver's order of their names."""
        return Listing(self._portal, self._inner.channels(limit=limit, cursor=cursor))

    def delete(self, channel: str) -> bool:
        """Remove a channel with its events and acknowledgements; return whether there was one.

        Whoever publishes to it makes it anew. Its numbers go on for a month, so a cursor never means another event.
        """
        return self._call(self._inner.delete, channel)

    def __enter__(self) -> Self:
        if not self._is_root:  # else it was started when it was opened
            self._call(self._inner.start)
        return self
