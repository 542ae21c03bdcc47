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
    """Its position in the channel: the cursors of later events sort after it. Pass it back unchanged."""
    event: Any
    published_at: datetime
    """By the backend's clock. The cursors define the order."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A page of a channel's history."""

    events: list[Event]
    """In order."""
    has_more: bool
    """Whether there were more: call again with the last event's cursor."""
    lost: int
    """How many events after the given cursor, and before the first of these, retention has removed."""


def log_base(channel: str) -> Key:
    """Return the key of a channel's log."""
    return key(LOGS, text(channel))


def ack_key(channel: str, consumer: str) -> Key:
    """Return the key of a consumer's acknowledgement."""
    return key(ACKS, text(channel), text(consumer))


def position_of(cursor: str | None) -> int | None:
    """Return the number that a cursor stands for. `None` and empty text are the very beginning."""
    if cursor is None or cursor == "":
        return None
    if not isinstance(cursor, str) or len(cursor) != 16 or not (cursor.isascii() and cursor.isdecimal()):
        raise InvalidCursorError(f"{str(cursor)[:40]!r} is not the cursor of an event: pass cursors on unchanged")
    return int(cursor)


def acknowledged(value: str) -> int:
    """Return the number of the last acknowledged event. Raises `CorruptDataError`."""
    if not value.isdecimal():
        raise CorruptDataError(f"an acknowledgement says {value!r}, which is not a number")
    return int(value)


def to_event(channel: str, entry: Entry) -> Event:
    """Return the event in an entry. Raises `CorruptDataError`."""
    try:
        event = load_value(entry.value, EVENT, f"event {entry.seq} of the channel {channel!r}")
    except CorruptDataError as error:
        error.cursor = number(entry.seq)
        raise
    return Event(channel, number(entry.seq), event, datetime.fromtimestamp(entry.appended_at / 1000, UTC))
