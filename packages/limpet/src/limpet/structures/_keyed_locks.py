"""One lock per key in use, so that the tasks of a process do not race each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from weakref import WeakKeyDictionary

from ..driver import Driver, Key

__all__ = ["KeyedLocks", "changing"]


class KeyedLocks:
    """Locks by key. Waiting tasks are served in order."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of `key`."""
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._locks)


_CHANGING: WeakKeyDictionary[Driver, KeyedLocks] = WeakKeyDictionary()


def changing(driver: Driver, at: Key) -> AbstractAsyncContextManager[None]:
    """Hold this while reading, changing and writing one item. The lock is shared by all stores on this driver."""
    return _CHANGING.setdefault(driver, KeyedLocks()).hold(at)
