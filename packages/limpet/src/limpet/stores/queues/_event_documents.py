"""Where events are, their stored form, and their cursors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from ..._errors import ConfigurationError, CorruptDataError, InvalidCursorError
from ...driver import Key, key, name, number, text
from ...structures import Entry, load_value
from .._formats import EVENT

__all__ = [
    "Event",
    "EventKeys",
    "Recovered",
    "acknowledged",
    "position_of",
    "to_event",
]

_NAMESPACE = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventKeys:
    """Where the channels of a namespace are."""

    logs: Key
    channels: Key
    """Below it, the name of each channel."""
    acks: Key
    upkeep: str
    """What pruning them is called, so that one of all queues of the namespace does it."""

    @classmethod
    def of(cls, namespace: str | None) -> Self:
        """Return the keys of a namespace. Raises `ConfigurationError` for one that is no name."""
        if namespace is None:
            root = "events"
        elif isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace):
            root = f"events-{namespace}"
        else:
            raise ConfigurationError(
                f"namespace is {namespace!r}: start with a-z, then use at most 63 of a-z, 0-9, '_' and '-'"
            )
        return cls(name(root), name(f"{root}.channels"), name(f"{root}.acks"), root)

    def log(self, channel: str) -> Key:
        """Return the key of a channel's log."""
        return key(self.logs, text(channel))

    def listed(self, channel: str) -> Key:
        """Return the key at which a channel's name is stored."""
        return key(self.channels, text(channel))

    def acks_of(self, channel: str) -> Key:
        """Return the key below which a channel's acknowledgements are."""
        return key(self.acks, text(channel))

    def ack(self, channel: str, consumer: str) -> Key:
        """Return the key of a consumer's acknowledgement."""
        return key(self.acks, text(channel), text(consumer))


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
