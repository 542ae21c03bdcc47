"""Exact counters for many concurrent writers: updated in the batch of what is counted, on one of many shards."""

from __future__ import annotations

from hashlib import sha256

from .._errors import CorruptDataError
from ..driver import Driver, If, Item, Key, Put, key, name, number
from ._transact import ReadSet

__all__ = ["Counter"]

_SHARDS = 64


class Counter:
    """How many there are of something. Each id has its shard, so two of them rarely meet."""

    def __init__(self, driver: Driver, collection: str) -> None:
        self._driver = driver
        self._base = name(f"{collection}.count")

    def shard(self, id: str) -> Key:
        """What `plan` has to know."""
        return key(self._base, number(sha256(id.encode()).digest()[0] % _SHARDS))

    def plan(self, reads: ReadSet, shards: dict[Key, int]) -> list[Put]:
        """The writes that add a number to each of these shards."""
        writes = []
        for at, by in shards.items():
            item = reads[at]
            writes.append(Put(at, str(max(0, _count(item) + by)), If.ABSENT if item is None else item.etag))
        return writes

    async def total(self) -> int:
        """How many there are. One driver call."""
        shards = [key(self._base, number(n)) for n in range(_SHARDS)]
        return sum(map(_count, await self._driver.get(shards)))


def _count(item: Item | None) -> int:
    if item is None:
        return 0
    if not isinstance(item.value, str) or not item.value.isdecimal():
        raise CorruptDataError(f"the item at {item.key!r} is not a counter")
    return int(item.value)
