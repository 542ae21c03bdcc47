"""A cache of the heads of recently used logs."""

from __future__ import annotations

from collections import OrderedDict

from ...driver import Item, Key
from .._keyed_locks import KeyedLocks

__all__ = ["LogCache"]


_MOST_BYTES = 16 * 1024 * 1024
"""A head has 60 bytes, or a hundred thousand with thousands of tombstones."""


class LogCache:
    """The heads of recently used logs, so that a warm append or read does not have to read them first."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._bytes = 0
        self._heads: OrderedDict[Key, Item] = OrderedDict()
        self.locks: KeyedLocks = KeyedLocks()

    def get(self, base: Key) -> Item | None:
        """Return the head as it was last seen."""
        if base in self._heads:
            self._heads.move_to_end(base)
            return self._heads[base]
        return None

    def put(self, base: Key, head: Item | None) -> None:
        """Remember a head, or that there is none."""
        before = self._heads.pop(base, None)
        if before is not None:
            self._bytes -= len(before.value or "")
        if head is not None:
            self._heads[base] = head
            self._bytes += len(head.value or "")
            while len(self._heads) > self._size or (self._bytes > _MOST_BYTES and len(self._heads) > 1):
                _, oldest = self._heads.popitem(last=False)
                self._bytes -= len(oldest.value or "")
