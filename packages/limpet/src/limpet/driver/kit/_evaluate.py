"""One pure function decides what a group of units does. Used by every driver that locks and then writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..._errors import ConflictError, CorruptDataError, TooLargeError
from .._keys import number
from .._types import KEEP, Append, Batch, Cond, Delete, Etag, If, Item, Key, Outcome, Put, Unit, Value, new_etag
from ._values import size_of

__all__ = ["Evaluation", "Record", "counter_value", "evaluate", "keys_to_read"]

_CONFLICT_BYTES = 1024 * 1024
_LAST = 10**16 - 1


class Record(NamedTuple):  # created for every row that is read or written, and a dataclass takes three times as long
    """What a backend stores at a key."""

    value: Value | None
    """`None` if the driver did not read it (see `keys_to_read`)."""
    etag: Etag
    updated_at: int
    expires_at: int | None = None
    """Milliseconds since 1970 by the backend's clock."""

    def gone(self, now: int) -> bool:
        """Return whether it has expired. From that very millisecond on, it is invisible."""
        return self.expires_at is not None and self.expires_at <= now

    def item(self, key: Key, now: int, *, values: bool = True) -> Item:
        """Return the item as callers see it, with its remaining time to live."""
        left = None if self.expires_at is None else max(1, self.expires_at - now)
        return Item(key, self.value if values else None, self.etag, self.updated_at, left)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of evaluating a group of units."""

    outcomes: list[Outcome]
    """One for each unit, in order."""
    effects: dict[Key, Record | None]
    """What to write: a record to store, or `None` to delete. Unchanged keys are left out."""


def keys_to_read(units: Sequence[Unit]) -> dict[Key, bool]:
    """Return the keys to lock and read first, in key order: `True` if the value is needed, not only its etag."""
    keys: dict[Key, bool] = {}
    for unit in units:
        if isinstance(unit, Append):
            keys[unit.log] = True
            keys[unit.check.key] = True
        else:
            for write in unit:
                if write.cond is not None:
                    keys[write.key] = True
                else:
                    keys.setdefault(write.key, False)
    return dict(sorted(keys.items()))


def evaluate(units: Sequence[Unit], now: int, items: Mapping[Key, Record | None]) -> Evaluation:
    """Evaluate units in order, each on top of the effects of the earlier ones.

    `now` is the backend's clock in milliseconds, read after locking. `items` contains what is stored at every key
    of `keys_to_read(work)`; a missing or expired item counts as absent. This writes nothing.
    """
    seen = _Overlay(items, now)
    return Evaluation(
        [seen.append(unit) if isinstance(unit, Append) else seen.batch(unit) for unit in units], seen.effects
    )


class _Overlay:
    def __init__(self, items: Mapping[Key, Record | None], now: int) -> None:
        self.items = items
        self.now = now
        self.effects: dict[Key, Record | None] = {}

    def live(self, key: Key) -> Record | None:
        record = self.effects[key] if key in self.effects else self.items.get(key)
        return None if record is None or record.gone(self.now) else record

    def batch(self, batch: Batch) -> Outcome:
        failed: list[Key] = []
        for write in batch:
            record = self.live(write.key)
            if isinstance(write, Put) and record is not None and record.etag == write.etag:
                return None  # it finds its own etag: this very batch was applied before
            if write.cond is not None and not _holds(write.cond, record):
                failed.append(write.key)
        if failed:
            return self.conflict(failed)
        for write in batch:
            if isinstance(write, Put):
                self.put(write.key, write)
            elif isinstance(write, Delete) and (write.key in self.effects or self.items.get(write.key) is not None):
                self.effects[write.key] = None
        return None

    def append(self, unit: Append) -> Outcome:
        if not _holds(unit.check.cond, self.live(unit.check.key)):
            return self.conflict([unit.check.key])
        counter = self.live(unit.log)
        first = 0 if counter is None else counter_value(counter.value)
        if first is None:
            return CorruptDataError(f"the item at {unit.log!r} should be the next number of a log, but is not")
        if first + len(unit.puts) > _LAST:
            return TooLargeError(f"the log at {unit.log!r} is full: it has used all of its {_LAST} numbers")
        for n, put in enumerate(unit.puts, first):
            self.put(f"{put.key}!{number(n)}", put)
        expires = None if counter is None else counter.expires_at
        self.effects[unit.log] = Record(str(first + len(unit.puts)), new_etag(), self.now, expires)
        return first

    def put(self, key: Key, put: Put) -> None:
        if put.ttl_ms is None:
            expires = None
        elif put.ttl_ms is KEEP:
            record = self.live(key)
            expires = None if record is None else record.expires_at
        else:
            expires = self.now + put.ttl_ms
        self.effects[key] = Record(put.value, put.etag, self.now, expires)

    def conflict(self, failed: list[Key]) -> ConflictError:
        carried: dict[Key, Item | None] = {}
        room = _CONFLICT_BYTES
        for key in failed:
            record = self.live(key)
            room -= 0 if record is None or record.value is None else size_of(record.value)
            if room >= 0:
                carried[key] = None if record is None else record.item(key, self.now)
        return ConflictError(keys=tuple(failed), items=carried)


def _holds(cond: Cond, record: Record | None) -> bool:
    if cond is If.ABSENT:
        return record is None
    if record is None:
        return False
    return cond is If.PRESENT or record.etag == cond


def counter_value(value: Value | None) -> int | None:
    """Return the number in a log's counter; `None` if it is not a number."""
    return int(value) if isinstance(value, str) and value.isdecimal() and value.isascii() else None
