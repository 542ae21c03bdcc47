"""Collects calls of one kind while they wait. `Batching` has one batcher for writes and two for reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Batcher"]

A = TypeVar("A")
R = TypeVar("R")

_GROUP = 1024
_SHARED = 512
"""Minimum calls for splitting a group, so that the server works on one part while the next is being written."""


class _Asked(NamedTuple, Generic[A, R]):
    """A waiting call."""

    ask: A
    ordering_key: str | None
    weight: int
    future: asyncio.Future[R]


class Batcher(Generic[A, R]):
    """A call waits one tick for others. If it is still alone, it is sent by itself, otherwise with those that joined.

    After a call that stayed alone, the next one does not wait, so sequential calls cost nothing extra. At most
    `parallel` calls or groups are under way; calls made meanwhile wait and join the next group. Only one call with the
    same ordering key (appends to one log share one) is under way at a time: a second would only wait for it in the
    database.
    """

    def __init__(
        self,
        alone: Callable[[A], Awaitable[R]],
        together: Callable[[Sequence[A]], Awaitable[Sequence[R]]],
        weight: Callable[[A], int],
        *,
        again_alone: bool,
        ordering_key: Callable[[A], str | None] = lambda _ask: None,
    ) -> None:
        """The weights of a group add up to at most `room`.

        `again_alone`: if a group fails, each call is repeated alone. Calls with the same `ordering_key` are sent one after the other.
        """
        self._alone = alone
        self._together = together
        self._weight = weight
        self._again_alone = again_alone
        self._ordering_key = ordering_key
        self.room = 0
        self.parallel = 1
        self._waiting: deque[_Asked[A, R]] = deque()
        self._ordered: set[str | None] = set()
        """The ordering keys of the calls under way."""
        self._leading = False
        self._idle = False
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()

    async def call(self, ask: A) -> R:
        """Return the result of `ask`, or raise its error."""
        ordering_key = self._ordering_key(ask)
        if self._leading or self._waiting or self._under_way >= self.parallel or ordering_key in self._ordered:
            future = self._join(ask, ordering_key)
            if not self._leading and ordering_key not in self._ordered:
                self._go_on()
            return await future
        if not self._idle:
            self._leading = True
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self._leading = False
                self._go_on()
                raise
            self._leading = False
            if self._waiting or ordering_key in self._ordered:
                try:
                    future = self._join(ask, ordering_key, first=True)
                finally:
                    self._go_on()
                return await future
            self._idle = True
        self._under_way += 1
        self._ordered |= {ordering_key} - {None}
        try:
            return await self._alone(ask)
        finally:
            self._under_way -= 1
            self._ordered -= {ordering_key}
            self._go_on()

    async def drained(self) -> None:
        """Return when nothing waits and nothing is under way."""
        while self._leading or self._waiting or self._under_way:
            self._quiet.clear()
            await self._quiet.wait()

    def _join(self, ask: A, ordering_key: str | None, *, first: bool = False) -> asyncio.Future[R]:
        weight = self._weight(ask)  # here, so that an error in it reaches the caller
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(_Asked(ask, ordering_key, weight, future))
        return future

    def _go_on(self) -> None:
        if self._under_way < self.parallel and any(asked.ordering_key not in self._ordered for asked in self._waiting):
            self._under_way += 1
            task = asyncio.create_task(self._groups())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not self._under_way:
            self._quiet.set()

    async def _groups(self) -> None:
        try:
            while group := self._take():
                self._go_on()  # what is left may be sent at the same time
                self._idle = len(group) == 1
                try:
                    await self._send(group)
                finally:
                    self._ordered -= {asked.ordering_key for asked in group}
                await asyncio.sleep(0)  # a caller that just got its result may call again, and joins the next group
        finally:  # not in a callback: a caller that just got its result may call again before that runs
            self._under_way -= 1
            self._go_on()

    def _take(self) -> list[_Asked[A, R]]:
        group: list[_Asked[A, R]] = []
        later: list[_Asked[A, R]] = []
        room = self.room
        share = ceil(len(self._waiting) / (self.parallel - self._under_way + 1))
        most = min(_GROUP, max(_SHARED, share))
        while self._waiting and len(group) < most:
            asked = self._waiting.popleft()
            if asked.future.cancelled():
                continue
            if asked.ordering_key in self._ordered:
                later.append(asked)
                continue
            room -= asked.weight
            if group and room < 0:
                later.append(asked)
                break
            group.append(asked)
        self._waiting.extendleft(reversed(later))
        self._ordered |= {asked.ordering_key for asked in group} - {None}
        return group

    async def _send(self, group: list[_Asked[A, R]]) -> None:
        try:
            answers = await self._together([asked.ask for asked in group])
        except Exception as error:  # noqa: BLE001 - handed to every caller, not swallowed
            for asked in group:
                if self._again_alone and len(group) > 1:
                    await self._send([asked])
                elif not asked.future.done():
                    asked.future.set_exception(error)
        except BaseException:
            for asked in group:
                asked.future.cancel()
            raise
        else:
            for asked, answer in zip(group, answers, strict=True):
                if not asked.future.done():
                    asked.future.set_result(answer)
