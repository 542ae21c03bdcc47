"""The stored form of events, and their cursors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..._errors import CorruptDataError, InvalidCursorError
from ...driver import Key, key, name, number, text
from ...structures import Entry, load_value
from .._formats import EVENT

__all__ = [
    "ACKS",
    "CHANNELS",
    "LOGS",
    "Event",
    "Recovered",
    "ack_key",
    "acknowledged",
    "log_base",
    "position_of",
    "to_event",
]

LOGS, CHANNELS, ACKS = name("events"), name("events.channels"), name("events.acks")


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it was stored."""

    channel: str
    cursor: str
    """Its place in the channel: later events have cursors that sort behind it. Pass it on as it came."""
    event: Any
    published_at: datetime
    """By the backend's clock. The order is that of the cursors."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A page of a channel's history."""

    events: list[Event]
    """In order."""
    has_more: bool
    """Whether there were more of them: ask again, after the last one's cursor."""
    lost: int
    """How many events before the first of these, and after the cursor that was given, retention has removed."""


def log_base(channel: str) -> Key:
    """Where the log of a channel lies."""
    return key(LOGS, text(channel))


def ack_key(channel: str, consumer: str) -> Key:
    """Where a consumer's acknowledgement lies."""
    return key(ACKS, text(channel), text(consumer))


def position_of(cursor: str | None) -> int | None:
    """The number that a cursor stands for; `None`, or an empty text, is the very beginning."""
    if cursor is None or cursor == "":
        return None
    if not isinstance(cursor, str) or len(cursor) != 16 or not (cursor.isascii() and cursor.isdecimal()):
        raise InvalidCursorError(f"{str(cursor)[:40]!r} is not the cursor of an event: pass cursors on unchanged")
    return int(cursor)


def acknowledged(value: str) -> int:
    """The number of the last event that was acknowledged. Raises `CorruptDataError`."""
    if not value.isdecimal():
        raise CorruptDataError(f"an acknowledgement says {value!r}, which is not a number")
    return int(value)


def to_event(channel: str, entry: Entry) -> Event:
    """The event in an entry. Raises `CorruptDataError`."""
    try:
        event = load_value(entry.value, EVENT, f"event {entry.seq} of the channel {channel!r}")
    except CorruptDataError as error:
        error.cursor = number(entry.seq)
        raise
    return Event(channel, number(entry.seq), event, datetime.fromtimestamp(entry.appended_at / 1000, UTC))
