"""A right driver in memory whose instances share places: the base of most mutants.

It is cut into small methods, each one decision, so that a mutant can get exactly one of them wrong. Calls of
different drivers interleave: everything awaits at least once, as a driver over a network does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from limpet import ClosedError, ConfigurationError
from limpet.driver import Capabilities, Health, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import (
    BaseDriver,
    Evaluation,
    Record,
    SortedKeys,
    below,
    evaluate,
    host_now_ms,
    keys_to_read,
    to_page,
)

Hints = asyncio.Queue[frozenset[Key] | None]


@dataclass(slots=True)
class Place:
    """What the drivers of one URL share."""

    records: dict[Key, Record] = field(default_factory=dict)
    watchers: list[tuple[Key, Hints]] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


PLACES: dict[str, Place] = {}


class SharedMemoryDriver(BaseDriver):
    """An ordered map in this process, one for each name."""

    capabilities = Capabilities(shared=True, watch=True, append=True, max_writes=2_000, max_keys=2_000)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.ended = asyncio.Event()

    @classmethod
    def from_url(cls, url: str) -> Self:
        scheme, _, name = url.partition("://")
        if scheme != "shared-memory" or "?" in name:
            raise ConfigurationError(f"{url!r} is no shared-memory://name")
        return cls(name)

    @property
    def place(self) -> Place:
        return PLACES.setdefault(self.name, Place())

    async def _open(self) -> None:
        pass

    async def _close(self) -> None:
        self.ended.set()
        for _, hints in self.place.watchers:
            hints.put_nowait(None)

    # Reading.

    def now(self) -> int:
        return host_now_ms()

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        return None if record is None or record.gone(now) else record.item(key, now, values=values)

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        await asyncio.sleep(0)
        now = self.now()
        return [self.item(key, self.place.records.get(key), now, values) for key in keys]

    def bounds(self, base: Key, after: Key | None, before: Key | None) -> tuple[Key, Key | None]:
        low, high = below(base)
        if after is not None:
            low = max(low, after + "\0")
        if before is not None:
            high = before if high is None else min(high, before)
        return low, high

    def between(self, low: Key, high: Key | None, reverse: bool) -> Iterator[Key]:
        return SortedKeys(self.place.records).between(low, high, reverse=reverse)

    def page(self, items: Iterator[Item], limit: int) -> Page:
        return to_page(items, limit)

    async def _list(self, range: Range) -> Page:
        await asyncio.sleep(0)
        now = self.now()
        low, high = self.bounds(range.base, range.after, range.before)
        listed = (
            self.item(key, self.place.records[key], now, range.values) for key in self.between(low, high, range.reverse)
        )
        return self.page((item for item in listed if item is not None), range.limit)

    # Writing.

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        async with self.place.lock:
            records = {key: self.place.records.get(key) for key in keys_to_read(units)}
            await asyncio.sleep(0)
            evaluation = self.evaluated(units, self.now(), records)
            self.write(evaluation.effects)
            self.hint(evaluation.effects)
        await asyncio.sleep(0)
        return evaluation.outcomes

    def evaluated(self, units: Sequence[Unit], now: int, records: Mapping[Key, Record | None]) -> Evaluation:
        return evaluate(units, now, records)

    def write(self, effects: Mapping[Key, Record | None]) -> None:
        for key, record in effects.items():
            if record is None:
                self.place.records.pop(key, None)
            else:
                self.place.records[key] = record

    # The rest.

    async def _purge(self) -> tuple[int, bool]:
        gone = [key for key, record in self.place.records.items() if record.gone(self.now())]
        for key in gone:
            del self.place.records[key]
        return len(gone), False

    async def _health(self) -> Health:
        return Health("shared memory", "1", self.now())

    def hint(self, keys: Iterable[Key]) -> None:
        for base, hints in self.place.watchers:
            seen = frozenset(key for key in keys if not base or key.startswith(base + "!"))
            if seen:
                hints.put_nowait(seen)

    async def _watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
        mine: tuple[Key, Hints] = (base, asyncio.Queue())
        self.place.watchers.append(mine)
        try:
            yield None
            while True:
                hint = await mine[1].get()
                if self.ended.is_set():
                    raise ClosedError("the watch ends because the driver was closed")
                yield hint
        finally:
            self.place.watchers.remove(mine)
