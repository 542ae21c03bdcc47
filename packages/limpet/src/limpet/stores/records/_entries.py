"""A value of a key-value store with what is known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, NamedTuple, Self, TypeVar

from ..._errors import CorruptDataError
from ...driver import Etag, Item

__all__ = ["KeyValueEntry", "NewEntry", "Times"]

V = TypeVar("V")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CREATED = "created"
_UPDATED = "updated"
_LATEST = 253_402_300_799_999
"""Milliseconds since 1970 at the end of the year 9999."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValueEntry(Generic[V]):
    """A stored value with what is known about it. Times are UTC, by the backend's clock."""

    namespace: str | tuple[str, ...]
    """As it was passed to `kv`."""
    key: str
    value: V = field(repr=False)
    etag: Etag
    created_at: datetime
    """When the value was first stored, or stored anew by `set` or `replace`. `update` and `touch` keep it."""
    updated_at: datetime
    """When the value was last written. `touch` keeps it."""
    ttl: float | None
    """Seconds until it expires, counted from when it was read; `None`: it never does."""


@dataclass(frozen=True, slots=True)
class NewEntry(Generic[V]):
    """A value to store: for `KeyValueTree.write`."""

    namespace: Sequence[str]
    key: str
    value: V = field(repr=False)
    ttl: float | timedelta | None = None
    """Seconds (or a timedelta) until it expires; `None`: it never does."""


class Times(NamedTuple):
    """When a record was created and last changed, in milliseconds since 1970.

    The backend stores when an item was last written. So a record that was written once needs no times of its own. One
    that was updated keeps its creation time in its header, and one whose expiry alone was renewed keeps both.
    """

    created: int
    updated: int

    @classmethod
    def of(cls, item: Item, meta: Mapping[str, Any]) -> Self:
        """Return the times of the record in an item with this header. Raises `CorruptDataError`."""
        updated = meta.get(_UPDATED, item.updated_at)
        times = cls(meta.get(_CREATED, updated), updated)
        for time in times:
            if not isinstance(time, int) or isinstance(time, bool) or not 0 <= time <= _LATEST:
                raise CorruptDataError(f"the header of the item at {item.key!r} contains no valid time")
        return times

    def header(self) -> dict[str, int]:
        """Return what the header contains if the record is written again unchanged."""
        return {_CREATED: self.created, _UPDATED: self.updated}

    def header_of_change(self) -> dict[str, int]:
        """Return what the header contains if the record is updated: when, the backend stores."""
        return {_CREATED: self.created}

    def as_datetimes(self) -> tuple[datetime, datetime]:
        """Return both as datetimes."""
        return _EPOCH + timedelta(milliseconds=self.created), _EPOCH + timedelta(milliseconds=self.updated)
