"""What one process asks at the same time travels together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import TypeAlias

from .._errors import ClosedError, ForeignLoopError
from ..driver import Append, Batch, Check, Driver, Item, Key, Put, Verdict, Work
from ._wrapper import Wrapper

__all__ = ["Coalescer"]

_GROUP_UNITS = 1024

_Write: TypeAlias = "tuple[Work, asyncio.Future[Verdict]]"
_Read: TypeAlias = "tuple[Sequence[Key], bool, asyncio.Future[list[Item | None]]]"


class Coalescer(Wrapper):
    """Joins concurrent calls: reads into one `get`, independent batches and appends into one `apply_many`.

    A call waits one tick of the event loop for others to join; while as many groups as the driver finds useful
    are under way, the next one grows. A refused batch refuses nobody else; cancelling one caller cancels nobody
    else, and a call cancelled before its group was sent is not sent.
    """

    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        self._writes: deque[_Write] = deque()
        self._reads: deque[_Read] = deque()
        self._writers: set[asyncio.Task[None]] = set()
        self._readers: set[asyncio.Task[None]] = set()
        self._starting_write = self._starting_read = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def open(self) -> None:
        await super().open()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        await self.drain()
        await super().close()

    async def drain(self) -> None:
        """Take no more calls and wait for those under way; the wrapped driver stays open."""
        self._closed = True
        while under_way := self._writers | self._readers:
            await asyncio.wait(under_way)

    async def apply(self, batch: Batch) -> None:
        verdict = await self._write(batch)
        if isinstance(verdict, Exception):
            raise verdict

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        verdict = await self._write(Append(log, tuple(puts), check))
        if isinstance(verdict, int):
            return verdict
        raise verdict or AssertionError("an append was applied without a number")

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        loop = self._check()
        future: asyncio.Future[list[Item | None]] = loop.create_future()
        self._reads.append((keys, values, future))
        if not self._starting_read and len(self._readers) < self.capabilities.parallel:
            self._starting_read = True
            self._start(self._read_groups(), self._readers)
        return await future

    async def _write(self, unit: Work) -> Verdict:
        loop = self._check()
        future: asyncio.Future[Verdict] = loop.create_future()
        self._writes.append((unit, future))
        if not self._starting_write and len(self._writers) < self.capabilities.parallel:
            self._starting_write = True
            self._start(self._write_groups(), self._writers)
        return await future

    def _check(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._closed or self._loop is None:
            raise ClosedError("used before open() or after close(): open a new one")
        if loop is not self._loop:
            raise ForeignLoopError("opened on another event loop: open one per event loop")
        return loop

    def _start(self, groups: Coroutine[None, None, None], running: set[asyncio.Task[None]]) -> None:
        async def run() -> None:
            try:
                await groups
            finally:  # here and not in a callback: whoever was just answered may call again before that runs
                running.discard(task)

        task = asyncio.create_task(run())
        running.add(task)

    async def _write_groups(self) -> None:
        self._starting_write = False
        while group := self._take_writes():
            try:
                verdicts = await self.inner.apply_many([unit for unit, _ in group])
            except Exception as error:  # noqa: BLE001 - handed to every caller, not swallowed
                verdicts = [error] * len(group)
            except BaseException:
                _cancel([future for _, future in group])
                raise
            for (_, future), verdict in zip(group, verdicts, strict=True):
                if not future.done():
                    future.set_result(verdict)

    def _take_writes(self) -> list[_Write]:
        group: list[_Write] = []
        room = self.capabilities.max_batch_bytes
        while self._writes and len(group) < _GROUP_UNITS:
            unit, future = self._writes[0]
            if future.cancelled():
                self._writes.popleft()
                continue
            room -= _weight(unit)
            if group and room < 0:
                break
            group.append(self._writes.popleft())
        return group

    async def _read_groups(self) -> None:
        self._starting_read = False
        while group := self._take_reads():
            wanted = dict.fromkeys(key for keys, _, _ in group for key in keys)
            try:
                found = await self.inner.get(list(wanted), values=group[0][1])
            except Exception as error:  # noqa: BLE001 - handed to every caller, not swallowed
                await self._read_alone(group, error)
                continue
            except BaseException:
                _cancel([future for _, _, future in group])
                raise
            items = dict(zip(wanted, found, strict=True))
            for keys, _, future in group:
                if not future.done():
                    future.set_result([items[key] for key in keys])

    async def _read_alone(self, group: list[_Read], error: Exception) -> None:
        """One caller's bad key is no neighbour's error: ask again, each for itself."""
        for keys, values, future in group:
            if len(group) > 1:
                try:
                    answer = await self.inner.get(keys, values=values)
                except Exception as own:  # noqa: BLE001 - handed to its caller
                    error = own
                else:
                    if not future.done():
                        future.set_result(answer)
                    continue
            if not future.done():
                future.set_exception(error)

    def _take_reads(self) -> list[_Read]:
        group: list[_Read] = []
        room = self.capabilities.max_keys
        while self._reads:
            keys, values, future = self._reads[0]
            if future.cancelled():
                self._reads.popleft()
                continue
            room -= len(keys)
            if group and (room < 0 or values != group[0][1]):
                break
            group.append(self._reads.popleft())
        return group


def _weight(unit: Work) -> int:
    puts = unit.puts if isinstance(unit, Append) else [write for write in unit if isinstance(write, Put)]
    return sum(len(put.value) for put in puts if isinstance(put.value, str | bytes))


def _cancel(futures: Sequence[asyncio.Future[Verdict]] | Sequence[asyncio.Future[list[Item | None]]]) -> None:
    for future in futures:
        future.cancel()
