"""Batching: calls that one process makes at the same time are sent together."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Sequence
from os import getpid
from typing import Any

from ..._errors import ClosedError
from ...driver import Append, Driver, Item, Key, Outcome, Put, Unit
from ...driver.kit import Owner
from .._wrapper import Wrapper, ensure_owner
from ._batcher import Batcher

__all__ = ["Batching"]


class Batching(Wrapper):
    """Joins concurrent calls: reads into one `get`, independent batches and appends into one `commit`.

    A call waits one tick of the event loop for others to join; while as many groups as the driver finds useful are
    under way, the next one grows. A refused batch does not affect the others. Cancelling a caller does not cancel other
    calls; a call that is cancelled before its group is sent is not sent.
    """

    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        self._writes = Batcher(self._write_alone, inner.commit, _bytes, again_alone=False, ordering_key=_log)
        self._reads = {
            True: Batcher(inner.get, self._read_whole, len, again_alone=True),
            False: Batcher(self._read_bare_alone, self._read_bare, len, again_alone=True),
        }
        self._owner: Owner | None = None
        self._closed = False

    async def open(self) -> None:
        await super().open()
        if self._owner is None:
            self._owner = Owner()
            self._writes.room = self.capabilities.max_batch_bytes
            for reads in self._reads.values():
                reads.room = self.capabilities.max_keys
            for batcher in self._batchers:
                batcher.parallel = self.capabilities.parallel

    async def close(self) -> None:
        ensure_owner(self)
        await self.drain()
        await super().close()

    async def drain(self) -> None:
        """Take no more calls and wait for those under way; the wrapped driver stays open."""
        self._closed = True
        if self._owner is None or not self._owner.is_forked:  # otherwise they are under way in the parent
            for batcher in self._batchers:
                await batcher.drained()

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        if self._closed or self._owner is None or self._owner.here != (get_running_loop(), getpid()):
            self._refuse()
        return await self._reads[values].call(keys)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        if self._closed or self._owner is None or self._owner.here != (get_running_loop(), getpid()):
            self._refuse()
        if len(units) == 1:
            return [await self._writes.call(units[0])]
        return await self.inner.commit(units)

    def _refuse(self) -> None:
        """Refuse calls in a forked child, which would wait for the calls of its parent."""
        if self._closed or self._owner is None:
            raise ClosedError("used before open() or after close(): open a new one")
        self._owner.check("the driver")

    @property
    def _batchers(self) -> list[Batcher[Any, Any]]:
        return [self._writes, *self._reads.values()]

    async def _write_alone(self, unit: Unit) -> Outcome:
        (outcome,) = await self.inner.commit((unit,))
        return outcome

    async def _read_whole(self, asked: Sequence[Sequence[Key]]) -> list[list[Item | None]]:
        return await self._read(asked, True)

    async def _read_bare(self, asked: Sequence[Sequence[Key]]) -> list[list[Item | None]]:
        return await self._read(asked, False)

    async def _read_bare_alone(self, keys: Sequence[Key]) -> list[Item | None]:
        return await self.inner.get(keys, values=False)

    async def _read(self, asked: Sequence[Sequence[Key]], values: bool) -> list[list[Item | None]]:
        wanted = dict.fromkeys(key for keys in asked for key in keys)
        items = dict(zip(wanted, await self.inner.get(list(wanted), values=values), strict=True))
        return [[items[key] for key in keys] for keys in asked]


def _log(unit: Unit) -> str | None:
    return unit.log if isinstance(unit, Append) else None


def _bytes(unit: Unit) -> int:
    """Return about how many bytes a unit sends. Invalid parts are refused later."""
    size = 0
    for write in unit.puts if isinstance(unit, Append) else unit:
        if isinstance(write, Put) and isinstance(write.value, (str, bytes)):
            size += len(write.value)
    return size
