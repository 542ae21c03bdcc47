"""An in-memory cache of items: they are read again without a call, or without fetching their values."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil, inf
from time import monotonic
from typing import ClassVar, NamedTuple

from .._errors import ClosedError, ConfigurationError, ConflictError, OutcomeUnknownError, UnavailableError
from ..driver import Append, Check, Driver, Item, Key, Outcome, Unit, entry_key, is_entry
from ..driver.kit import Owner, size_of, validate_get
from ._wrapper import Wrap, Wrapper, ensure_owner

__all__ = ["Cached", "cached"]

_MIB = 1024 * 1024
_ENTRY_BYTES = 300
"""Approximate size of an entry, without its key and value."""
_DOUBT = 60.0
"""Seconds during which an item is not cached after a write with an unknown outcome: it may still happen."""
_DOUBTS = 1000
_LISTEN_AGAIN = 1.0
_EVERYTHING = ""


class _Kept(NamedTuple):
    item: Item | None
    since: float
    """When the item was requested: never later than it was read."""
    size: int


class Cached(Wrapper):
    """Caches recently read items, at most `max_items` and about `max_bytes`. Writes always go to the driver.

    If no one else can write (`capabilities.shared` is false), items are read from memory alone. On a shared driver

    - with a `max_stale` of 0, nothing is ever stale: `get` asks for the etags, and fetches only changed values;
    - with a `max_stale` above 0, `get` may return an item from memory for that many seconds after it was read. Writes
      by others become visible with the driver's change notification (`capabilities.watch`), or after that time. Writes
      through this driver are visible at once, and a conflict makes it read again. A `get` of several keys may then mix
      items of different moments.

    Expired items are never returned. `scan` is not cached. Raises `ConfigurationError`.
    """

    rank: ClassVar[int | None] = 0

    def __init__(
        self, inner: Driver, *, max_stale: float = 0.0, max_items: int = 10_000, max_bytes: int = 64 * _MIB
    ) -> None:
        super().__init__(inner)
        if isinstance(max_stale, bool) or not isinstance(max_stale, int | float) or not 0 <= max_stale < inf:
            raise ConfigurationError(f"max_stale is {max_stale!r}: use a number of seconds, or 0 to never be stale")
        for option, value in {"max_items": max_items, "max_bytes": max_bytes}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{option} is {value!r}: use a whole number above 0")
        self._max_stale = float(max_stale)
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._bytes = 0
        self._reading: dict[Key, object] = {}
        self._writing: dict[Key, int] = {}
        self._doubts: dict[Key, float] = {}
        self._owner: Owner | None = None
        self._listener: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await super().open()
        if self._owner is None:
            self._owner = Owner()
            if not self.capabilities.shared:
                self._max_stale = inf
            if self._max_stale and self.capabilities.watch:
                self._listener = asyncio.create_task(self._listen())

    async def close(self) -> None:
        ensure_owner(self)
        self._max_stale = 0.0
        self._forget([_EVERYTHING])
        forked = self._owner is not None and self._owner.is_forked  # otherwise the listener is the parent's
        if self._listener is not None and not self._listener.done() and not forked:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        await super().close()

    # The verbs.

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        validate_get(keys, self.capabilities)
        if self._max_stale:
            found = self._from_memory(keys, values)
            if found is not None:
                return found
        elif values and any(key in self._kept for key in keys):
            return await self._get_by_etag(keys)
        return await (self._get_and_keep(keys) if values else self.inner.get(keys, values=False))

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        with self._changing(units):
            outcomes = await self.inner.commit(units)
            for unit, outcome in zip(units, outcomes, strict=True):
                if isinstance(unit, Append) and isinstance(outcome, int):
                    self._forget(entry_key(put.key, n) for n, put in enumerate(unit.puts, outcome))
                elif isinstance(outcome, ConflictError):
                    self._forget(outcome.keys)
                elif isinstance(outcome, OutcomeUnknownError):
                    self._doubt(_changed([unit]))
            return outcomes

    async def clear(self, base: Key) -> int:
        with self._changing(None):
            return await self.inner.clear(base)

    # Reading.

    def _from_memory(self, keys: Sequence[Key], values: bool) -> list[Item | None] | None:
        """Return the items, if all of them are cached and still valid."""
        if not keys or self._owner is None:
            return None
        self._owner.check(type(self).__name__)
        now = monotonic()
        found: list[Item | None] = []
        for key in keys:
            kept = self._kept.get(key)
            if kept is None or now - kept.since >= self._max_stale:
                return None
            item = kept.item
            if item is not None and item.ttl_ms is not None:
                left = item.ttl_ms - ceil((now - kept.since) * 1000)
                if left < 1:
                    return None
                item = replace(item, ttl_ms=left)
            found.append(item if item is None or values else replace(item, value=None))
        for key in keys:
            self._kept.move_to_end(key)
        return found

    async def _get_by_etag(self, keys: Sequence[Key]) -> list[Item | None]:
        """As one snapshot: what is fetched later must be what was there when the etags were read."""
        items = await self.inner.get(keys, values=False)
        found: dict[Key, Item] = {}
        missing: dict[Key, Item] = {}
        for item in items:
            if item is not None:
                kept = self._kept.get(item.key)
                if kept is not None and kept.item is not None and kept.item.etag == item.etag:
                    found[item.key] = replace(item, value=kept.item.value)
                    self._kept.move_to_end(item.key)
                else:
                    missing[item.key] = item
        if missing:
            for item, fetched in zip(missing.values(), await self._get_and_keep(list(missing)), strict=True):
                if fetched is None or fetched.etag != item.etag:
                    return await self._get_and_keep(keys)
                found[item.key] = fetched
        return [None if item is None else found[item.key] for item in items]

    async def _get_and_keep(self, keys: Sequence[Key]) -> list[Item | None]:
        """Ask the driver, and cache what did not change and was not being changed meanwhile."""
        since = monotonic()
        marks = {key: self._reading.setdefault(key, object()) for key in keys}
        try:
            items = await self.inner.get(keys)
            for key, item in zip(keys, items, strict=True):
                if self._reading.get(key) is marks[key] and self._may_keep(key, item):
                    self._keep(key, item, since)
        finally:
            for key, mark in marks.items():
                if self._reading.get(key) is mark:
                    del self._reading[key]
        return items

    def _may_keep(self, key: Key, item: Item | None) -> bool:
        if key in self._writing or _EVERYTHING in self._writing:
            return False
        if item is None and is_entry(key):  # an append may be about to write it, and cannot announce that
            return False
        return not self._doubts or max(self._doubts.get(key, 0), self._doubts.get(_EVERYTHING, 0)) <= monotonic()

    def _keep(self, key: Key, item: Item | None, since: float) -> None:
        self._drop(key)
        size = _ENTRY_BYTES + len(key) + (0 if item is None or item.value is None else size_of(item.value))
        if size > self._max_bytes:
            return
        self._kept[key] = _Kept(item, since, size)
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._kept) > self._max_items:
            self._drop(next(iter(self._kept)))

    # Forgetting.

    @contextmanager
    def _changing(self, units: Sequence[Unit] | None) -> Iterator[None]:
        """Use around a write (`None`: to any key): nothing that it changes is cached before it ends."""
        keys = [_EVERYTHING] if units is None else _changed(units)
        for key in keys:
            self._writing[key] = self._writing.get(key, 0) + 1
        self._forget(keys)
        try:
            yield
        except (OutcomeUnknownError, asyncio.CancelledError):
            self._doubt(keys)
            raise
        finally:
            for key in keys:
                self._writing[key] -= 1
                if not self._writing[key]:
                    del self._writing[key]
            self._forget(keys)

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if key == _EVERYTHING:
                self._kept.clear()
                self._reading.clear()
                self._bytes = 0
            else:
                self._drop(key)
                self._reading.pop(key, None)

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size

    def _doubt(self, keys: Iterable[Key]) -> None:
        now = monotonic()
        if len(self._doubts) > _DOUBTS:
            self._doubts = {key: until for key, until in self._doubts.items() if until > now}
        self._doubts |= dict.fromkeys(keys, now + _DOUBT)

    async def _listen(self) -> None:
        while True:
            try:
                async for hint in self.inner.watch(""):
                    self._forget([_EVERYTHING] if hint is None else hint)
            except UnavailableError:  # when it is live again, its first notification is to forget everything
                pass
            except ClosedError:
                return
            await asyncio.sleep(_LISTEN_AGAIN)


def cached(*, max_stale: float = 0.0, max_items: int = 10_000, max_bytes: int = 64 * _MIB) -> Wrap:
    """Cache what is read from the driver, for `wrappers=`; see `Cached`."""
    return lambda driver: Cached(driver, max_stale=max_stale, max_items=max_items, max_bytes=max_bytes)


def _changed(units: Iterable[Unit]) -> list[Key]:
    """Return the keys that units write, as far as they are known in advance."""
    keys: list[Key] = []
    for unit in units:
        keys += [unit.log] if isinstance(unit, Append) else [w.key for w in unit if not isinstance(w, Check)]
    return keys
