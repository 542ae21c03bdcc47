"""A right driver in memory whose instances share places: the base of most mutants.

It is cut into small methods, each one decision, so that a mutant can get exactly one of them wrong. Calls of
different drivers interleave: everything awaits at least once, as a driver over a network does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from limpet import ClosedError, ConfigurationError
from limpet.driver import (
    BaseDriver,
    Capabilities,
    Health,
    Item,
    Judgement,
    Key,
    Page,
    Record,
    SortedKeys,
    Verdict,
    Work,
    below,
    check_key,
    collect,
    host_now_ms,
    judge,
    needed,
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
        return collect(items, limit)

    async def _list(
        self, base: Key, after: Key | None, before: Key | None, reverse: bool, limit: int, values: bool
    ) -> Page:
        await asyncio.sleep(0)
        now = self.now()
        low, high = self.bounds(base, after, before)
        listed = (self.item(key, self.place.records[key], now, values) for key in self.between(low, high, reverse))
        return self.page((item for item in listed if item is not None), limit)

    # Writing.

    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        async with self.place.lock:
            records = {key: self.place.records.get(key) for key in needed(work)}
            await asyncio.sleep(0)
            judgement = self.judged(work, self.now(), records)
            self.write(judgement.net)
            self.hint(judgement.net)
        await asyncio.sleep(0)
        return judgement.verdicts

    def judged(self, work: Sequence[Work], now: int, records: Mapping[Key, Record | None]) -> Judgement:
        return judge(work, now, records)

    def write(self, net: Mapping[Key, Record | None]) -> None:
        for key, record in net.items():
            if record is None:
                self.place.records.pop(key, None)
            else:
                self.place.records[key] = record

    # The rest.

    async def purge(self) -> int:
        with self._call():
            gone = [key for key, record in self.place.records.items() if record.gone(self.now())]
            for key in gone:
                del self.place.records[key]
            return len(gone)

    async def health(self) -> Health:
        with self._call():
            return Health("shared memory", "1", self.now())

    def hint(self, keys: Iterable[Key]) -> None:
        for base, hints in self.place.watchers:
            seen = frozenset(key for key in keys if not base or key.startswith(base + "!"))
            if seen:
                hints.put_nowait(seen)

    async def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        if base:
            check_key(base)
        self._check_open()
        mine: tuple[Key, Hints] = (base, asyncio.Queue())
        self.place.watchers.append(mine)
        try:
            yield None
            while True:
                hint = await mine[1].get()
                if self.ended.is_set():
                    raise ClosedError("the driver was closed: the watch ends")
                yield hint
        finally:
            self.place.watchers.remove(mine)
