"""A dict that does what the contract says, one batch after the other. Drivers are compared with it.

Written separately from the `evaluate` that drivers use, so that one mistake cannot hide in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from limpet.driver import KEEP, Check, Delete, Etag, If, Item, Key, Put, Value, Write

__all__ = ["Model", "State", "Stored", "failing"]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the model stores at a key. Its time stands still: `ttl_ms` is what was put, and never decreases."""

    value: Value
    etag: Etag
    ttl_ms: int | None = None

    def is_(self, item: Item | None) -> bool:
        """Return whether a driver's item is this one. Its remaining time may be less, but not zero."""
        if item is None or item.value != self.value or type(item.value) is not type(self.value):
            return False
        if item.etag != self.etag or (item.ttl_ms is None) != (self.ttl_ms is None):
            return False
        return item.ttl_ms is None or self.ttl_ms is None or 1 <= item.ttl_ms <= self.ttl_ms


State: TypeAlias = Mapping[Key, Stored]


@dataclass(slots=True)
class Model:
    """An ordered map in a dict, without a clock."""

    items: dict[Key, Stored] = field(default_factory=dict)

    def apply(self, batch: Sequence[Write]) -> frozenset[Key]:
        """Apply a batch and return nothing, or return every key whose condition failed and change nothing."""
        if own_etag(self.items, batch):
            return frozenset()
        failed = failing(self.items, batch)
        if failed:
            return failed
        for write in batch:
            if isinstance(write, Put):
                before = self.items.get(write.key)
                kept = before.ttl_ms if before is not None else None
                ttl = kept if write.ttl_ms is KEEP else write.ttl_ms
                self.items[write.key] = Stored(write.value, write.etag, ttl)
            elif isinstance(write, Delete):
                self.items.pop(write.key, None)
        return frozenset()

    def below(self, base: Key) -> list[Key]:
        """Return the keys that a scan of `base` returns, in order."""
        return sorted(key for key in self.items if not base or key.startswith(base + "!"))


def own_etag(state: State, batch: Sequence[Write]) -> bool:
    """Return whether the batch finds an item that it put itself: it was applied before, and does nothing again."""
    return any(isinstance(write, Put) and write.key in state and state[write.key].etag == write.etag for write in batch)


def failing(state: State, batch: Sequence[Write]) -> frozenset[Key]:
    """Return every key of a batch whose condition does not hold."""
    return frozenset(write.key for write in batch if not _holds(state.get(write.key), write))


def _holds(found: Stored | None, write: Put | Delete | Check) -> bool:
    if write.cond is None:
        return True
    if write.cond is If.ABSENT:
        return found is None
    if write.cond is If.PRESENT:
        return found is not None
    return found is not None and found.etag == write.cond
