"""Whether two databases hold the same, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b

from .._errors import ConfigurationError
from .._json import Unreadable
from ..driver import Driver, Item, Key, Range, Value
from ..driver.kit import scan_pages, size_of, to_bytes
from ..structures import get_each, scan_each
from ._database import Database, get_all, moves, opened
from ._kinds import kind_of
from ._progress import OnProgress, Progress

__all__ = ["Comparison", "KindCount", "verify"]

_PAGE = 256
_TTL_TOLERANCE_MS = 10_000
"""How much the time left may differ: the two sides are not read at the same instant."""
_LARGEST = 1 << 128


@dataclass(slots=True)
class KindCount:
    """What one database holds of a kind."""

    items: int = 0
    bytes: int = 0
    digest: str = "0" * 32
    """128 bits in hexadecimal, the same for the same keys and values in any order."""

    def add(self, key: Key, value: Value) -> None:
        hashed = blake2b(digest_size=16, person=b"limpet verify")
        for part in (key.encode(), b"t" if isinstance(value, str) else b"b", to_bytes(value)):
            hashed.update(len(part).to_bytes(8))
            hashed.update(part)
        self.items += 1
        self.bytes += size_of(value)
        self.digest = f"{(int(self.digest, 16) + int.from_bytes(hashed.digest())) % _LARGEST:032x}"


@dataclass(slots=True)
class Comparison:
    """How two databases differ. The lists hold at most `limit` keys each; the counts are complete."""

    first: dict[str, KindCount] = field(default_factory=dict)
    """What the first database holds, by kind."""
    second: dict[str, KindCount] = field(default_factory=dict)
    missing: list[Key] = field(default_factory=list)
    """Keys that only the first database has."""
    extra: list[Key] = field(default_factory=list)
    """Keys that only the second database has."""
    different: list[Key] = field(default_factory=list)
    """Keys whose values differ, or of which only one expires, or much earlier."""
    damaged: dict[Key, str] = field(default_factory=dict)
    """Stored keys of items that could not be read in either database, and why."""
    differences: int = 0
    """How many keys are missing, extra, different or damaged."""

    @property
    def equal(self) -> bool:
        """Whether both hold the same, and everything could be read."""
        return not self.differences


async def verify(first: Database, second: Database, *, limit: int = 100, progress: OnProgress = None) -> Comparison:
    """Compare everything that two databases hold: keys, values, and whether and when items expire.

    Etags and write times are not compared. Values are compared as applications see them, so one database may be encrypted
    and the other not. What seems to differ is read once more, so that what was just being written is not reported; but
    for an exact comparison, stop everything that writes to either. Writes nothing. Takes constant memory.
    """
    if limit < 0:
        raise ConfigurationError(f"limit is {limit}: use 0 or more")
    async with opened(first, reading=True) as one, opened(second, reading=True) as two:
        work = _Work(one, two, Comparison(), limit)
        examined = 0
        async for page in scan_pages(partial(scan_each, one), Range(limit=_PAGE)):
            await work.compare(page.items)
            examined += len(page.items)
            if progress is not None:
                progress(Progress("comparing", examined))
        async for page in scan_pages(partial(scan_each, two), Range(limit=_PAGE)):
            await work.look_for_extra(page.items)
            examined += len(page.items)
            if progress is not None:
                progress(Progress("comparing", examined))
    return work.found


@dataclass(slots=True)
class _Work:
    first: Driver
    second: Driver
    found: Comparison
    limit: int

    async def compare(self, items: Sequence[Item]) -> None:
        mine = self._counted(items, self.found.first)
        theirs = await _get_each(self.second, [item.key for item in mine])
        for item, other in zip(mine, theirs, strict=True):
            if isinstance(other, Item) and isinstance(other.value, Unreadable):
                continue  # it is counted when the second database is read
            if _differ(item, other):
                await self._look_again(item.key)

    async def look_for_extra(self, items: Sequence[Item]) -> None:
        mine = self._counted(items, self.found.second)
        theirs = await get_all(self.first, [item.key for item in mine], values=False)
        for item, other in zip(mine, theirs, strict=True):
            if other is None:
                await self._look_again(item.key)

    def _counted(self, items: Sequence[Item], counts: dict[str, KindCount]) -> list[Item]:
        readable: list[Item] = []
        for item in items:
            if not moves(item.key) or item.value is None:
                continue
            if isinstance(item.value, Unreadable):
                self._differing()
                if len(self.found.damaged) < self.limit:
                    self.found.damaged[item.key] = str(item.value.error)
                continue
            counts.setdefault(kind_of(item.key), KindCount()).add(item.key, item.value)
            readable.append(item)
        return readable

    async def _look_again(self, key: Key) -> None:
        (mine,), (theirs,) = await _get_each(self.first, [key]), await _get_each(self.second, [key])
        if not _differ(mine, theirs):
            return
        self._differing()
        if theirs is None:
            keys = self.found.missing
        elif mine is None:
            keys = self.found.extra
        else:
            keys = self.found.different
        if len(keys) < self.limit:
            keys.append(key)

    def _differing(self) -> None:
        self.found.differences += 1


async def _get_each(driver: Driver, keys: Sequence[Key]) -> list[Item | None]:
    most = driver.capabilities.max_keys
    parts = [await get_each(driver, keys[start : start + most]) for start in range(0, len(keys), most)]
    return [item for part in parts for item in part]


def _differ(mine: Item | None, theirs: Item | None) -> bool:
    if mine is None or theirs is None:
        return mine is not theirs
    if mine.value != theirs.value or (mine.ttl_ms is None) != (theirs.ttl_ms is None):
        return True
    return abs((mine.ttl_ms or 0) - (theirs.ttl_ms or 0)) > _TTL_TOLERANCE_MS
