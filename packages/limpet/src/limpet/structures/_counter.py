"""Exact counters for many concurrent writers: updated in the same batch as what they count, on one of many shards."""

from __future__ import annotations

from secrets import randbelow

from .._errors import CorruptDataError
from ..driver import Driver, If, Item, Key, Put, key, name, number
from ._transact import ReadSet

__all__ = ["Counter"]

_SHARDS = 64


class Counter:
    """Counts something. Each change uses a random shard, so concurrent changes rarely conflict.

    A shard chosen by the hash of an id would reveal something about the id to readers of an encrypted database's keys.
    So one shard may lose what another gained: only the sum has a meaning.
    """

    def __init__(self, driver: Driver, collection: str) -> None:
        self._driver = driver
        self._base = name(f"{collection}.count")

    def shard(self) -> Key:
        """The key that `plan` needs. A different one for each transaction."""
        return key(self._base, number(randbelow(_SHARDS)))

    def plan(self, reads: ReadSet, by: int) -> Put:
        """Return the write that adds a number to the shard that was read."""
        at = next(at for at in reads if at.startswith(f"{self._base}!"))
        item = reads[at]
        return Put(at, str(_count(item) + by), If.ABSENT if item is None else item.etag)

    async def total(self) -> int:
        """Return the total, in one driver call."""
        shards = [key(self._base, number(n)) for n in range(_SHARDS)]
        return sum(map(_count, await self._driver.get(shards)))


def _count(item: Item | None) -> int:
    if item is None:
        return 0
    if not isinstance(item.value, str) or not item.value.removeprefix("-").isdecimal():
        raise CorruptDataError(f"the item at {item.key!r} is not a counter")
    return int(item.value)
