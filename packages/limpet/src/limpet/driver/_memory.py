"""The driver that keeps everything in this process: for tests, for caches, and as the model of what drivers do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Self

from .._errors import ClosedError, ConfigurationError
from ._capabilities import MIB, Capabilities
from ._types import Health, Item, Key, Outcome, Page, Range, Unit
from .kit._base import BaseDriver
from .kit._clock import host_now_ms
from .kit._evaluate import Record, evaluate
from .kit._notifications import Subscription
from .kit._paging import below, between, to_page
from .kit._sorted_keys import SortedKeys

__all__ = ["MemoryDriver"]

_FREED_PER_WRITE = 64


class MemoryDriver(BaseDriver):
    """An ordered map in this process. It disappears with the driver: nothing is durable or shared.

    Stored values are immutable (`str`, `bytes`), so no caller can change one through a returned value. Later writes
    free expired items, a few each, and so does `purge`.
    """

    capabilities: Capabilities = Capabilities(
        durable="no",
        watch=True,
        append=True,
        group=False,
        max_value_bytes=64 * MIB,
        max_batch_bytes=256 * MIB,
        max_writes=100_000,
        max_keys=100_000,
    )

    def __init__(self, *, clock: Callable[[], int] = host_now_ms) -> None:
        """`clock` returns milliseconds since 1970 and is the backend's clock."""
        super().__init__()
        self._clock = clock
        self._records: dict[Key, Record] = {}
        self._order = SortedKeys()
        self._expiry: list[tuple[int, Key]] = []
        self._watchers: dict[Subscription, tuple[str, str | None]] = {}

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the driver for `memory://`, which has no options."""
        if url.removeprefix("memory:").strip("/"):
            raise ConfigurationError("memory:// takes no path and no options, because two memory drivers share nothing")
        return cls()

    @property
    def tls_problem(self) -> None:
        return None  # there is no network

    async def _open(self) -> None:
        pass

    async def _close(self) -> None:
        for subscription in self._watchers:
            subscription.end()
        self._records.clear()
        self._order = SortedKeys()
        self._expiry.clear()

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        now = self._clock()
        return [self._item(key, now, values) for key in keys]

    def _item(self, key: Key, now: int, values: bool) -> Item | None:
        record = self._records.get(key)
        return None if record is None or record.gone(now) else record.item(key, now, values=values)

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        now = self._clock()
        evaluation = evaluate(units, now, self._records)
        for key, record in evaluation.effects.items():
            self._write(key, record)
        self._free(now, _FREED_PER_WRITE)
        if self._watchers and evaluation.effects:
            self._notify(evaluation.effects.keys())
        return evaluation.outcomes

    async def _list(self, range: Range) -> Page:
        return to_page(self._live(range), range.limit)

    def _live(self, range: Range) -> Iterator[Item]:
        now = self._clock()
        low, high = between(range)
        for key in self._order.between(low, high, reverse=range.reverse):
            item = self._item(key, now, range.values)
            if item is not None:
                yield item

    async def _purge(self) -> tuple[int, bool]:
        return self._free(self._clock(), len(self._expiry)), False

    async def _health(self) -> Health:
        details = {"items": str(len(self._records))}
        return Health("memory", "1", self._clock(), (), details)

    async def _watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
        subscription = Subscription()
        self._watchers[subscription] = below(base)
        try:
            yield None
            while (keys := await subscription.next()) is not None and not self._closed:
                yield keys or None
            raise ClosedError("the watch ends because the driver was closed")
        finally:
            del self._watchers[subscription]

    def _write(self, key: Key, record: Record | None) -> None:
        if record is None:
            if self._records.pop(key, None) is not None:
                self._order.remove(key)
            return
        if key not in self._records:
            self._order.add(key)
        self._records[key] = record
        if record.expires_at is not None:
            heappush(self._expiry, (record.expires_at, key))
            if len(self._expiry) > 2 * len(self._records) + _FREED_PER_WRITE:
                self._expiry = [
                    (kept.expires_at, at) for at, kept in self._records.items() if kept.expires_at is not None
                ]
                heapify(self._expiry)

    def _free(self, now: int, limit: int) -> int:
        freed = 0
        while self._expiry and self._expiry[0][0] <= now and freed < limit:
            _, key = heappop(self._expiry)
            record = self._records.get(key)
            if record is not None and record.gone(now):
                self._write(key, None)
                freed += 1
        return freed

    def _notify(self, keys: Iterable[Key]) -> None:
        changed = list(keys)
        for subscription, (low, high) in self._watchers.items():
            seen = [key for key in changed if key >= low and (high is None or key < high)]
            if seen:
                subscription.push(seen)
