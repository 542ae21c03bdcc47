"""What one process asks at the same time travels together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from .._errors import ClosedError, ForeignLoopError
from ..driver import Append, Batch, Check, Driver, Item, Key, Put, Verdict, Work
from ._lane import Lane
from ._wrapper import Wrapper

__all__ = ["Coalescer"]


class Coalescer(Wrapper):
    """Joins concurrent calls: reads into one `get`, independent batches and appends into one `apply_many`.

    A call waits one tick of the event loop for others to join; while as many groups as the driver finds useful
    are under way, the next one grows. A refused batch refuses nobody else; cancelling one caller cancels nobody
    else, and a call cancelled before its group was sent is not sent.
    """

    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        self._writes = Lane(self._write_alone, inner.apply_many, _bytes, again_alone=False, turn=_log)
        self._reads = {
            True: Lane(inner.get, self._read_whole, len, again_alone=True),
            False: Lane(self._read_bare_alone, self._read_bare, len, again_alone=True),
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def open(self) -> None:
        await super().open()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._writes.room = self.capabilities.max_batch_bytes
            for reads in self._reads.values():
                reads.room = self.capabilities.max_keys
            for lane in self._lanes:
                lane.parallel = self.capabilities.parallel

    async def close(self) -> None:
        await self.drain()
        await super().close()

    async def drain(self) -> None:
        """Take no more calls and wait for those under way; the wrapped driver stays open."""
        self._closed = True
        for lane in self._lanes:
            await lane.drained()

    async def apply(self, batch: Batch) -> None:
        self._check()
        verdict = await self._writes.call(batch)
        if isinstance(verdict, Exception):
            raise verdict

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        self._check()
        verdict = await self._writes.call(Append(log, tuple(puts), check))
        if isinstance(verdict, int):
            return verdict
        raise verdict or AssertionError("an append was applied without a number")

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        self._check()
        return await self._reads[values].call(keys)

    def _check(self) -> None:
        if self._closed or self._loop is None:
            raise ClosedError("used before open() or after close(): open a new one")
        if self._loop is not asyncio.get_running_loop():
            raise ForeignLoopError("opened on another event loop: open one per event loop")

    @property
    def _lanes(self) -> list[Lane[Any, Any]]:
        return [self._writes, *self._reads.values()]

    async def _write_alone(self, unit: Work) -> Verdict:
        if isinstance(unit, Append):
            return await self.inner.append(unit.log, unit.puts, unit.check)
        await self.inner.apply(unit)
        return None

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


def _log(unit: Work) -> str | None:
    return unit.log if isinstance(unit, Append) else None


def _bytes(unit: Work) -> int:
    """About how much a unit sends: what is invalid in it is refused further down."""
    size = 0
    for write in unit.puts if isinstance(unit, Append) else unit:
        if isinstance(write, Put) and isinstance(write.value, (str, bytes)):
            size += len(write.value)
    return size
