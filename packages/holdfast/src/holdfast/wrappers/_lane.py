"""Calls of one kind that join while they wait: the coalescer has a lane for writes and two for reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from typing import Generic, TypeVar

__all__ = ["Lane"]

A = TypeVar("A")
R = TypeVar("R")

_GROUP = 1024
_SHARED = 512
"""From how many calls on a group is worth cutting up, so that the server works on one part while we write the next."""


class Lane(Generic[A, R]):
    """Each call waits one tick; alone after that it goes straight through, else it travels with those that joined.

    After a call that stayed alone the next one does not wait: who calls one after the other pays nothing. At most
    `parallel` calls or groups are under way; whoever comes meanwhile waits and joins the next one.
    """

    def __init__(
        self,
        alone: Callable[[A], Awaitable[R]],
        together: Callable[[Sequence[A]], Awaitable[Sequence[R]]],
        weight: Callable[[A], int],
        *,
        again_alone: bool,
    ) -> None:
        """A group's weights stay within `room`. `again_alone`: when a group fails, each call is made by itself."""
        self._alone = alone
        self._together = together
        self._weight = weight
        self._again_alone = again_alone
        self.room = 0
        self.parallel = 1
        self._waiting: deque[tuple[A, int, asyncio.Future[R]]] = deque()
        self._leading = False
        self._lonely = False
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()

    async def call(self, ask: A) -> R:
        """The answer to `ask`, or the error that it got."""
        if self._leading or self._waiting or self._under_way >= self.parallel:
            future = self._join(ask)
            if not self._leading:
                self._go_on()
            return await future
        if not self._lonely:
            self._leading = True
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self._leading = False
                self._go_on()
                raise
            self._leading = False
            if self._waiting:
                try:
                    future = self._join(ask, first=True)
                finally:
                    self._go_on()
                return await future
            self._lonely = True
        self._under_way += 1
        try:
            return await self._alone(ask)
        finally:
            self._under_way -= 1
            self._go_on()

    async def drained(self) -> None:
        """Return when nothing waits and nothing is under way."""
        while self._leading or self._waiting or self._under_way:
            self._quiet.clear()
            await self._quiet.wait()

    def _join(self, ask: A, *, first: bool = False) -> asyncio.Future[R]:
        weight = self._weight(ask)  # here, where an error in it is the caller's
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((ask, weight, future))
        return future

    def _go_on(self) -> None:
        if self._waiting and self._under_way < self.parallel:
            self._under_way += 1
            task = asyncio.create_task(self._groups())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not self._under_way:
            self._quiet.set()

    async def _groups(self) -> None:
        try:
            while group := self._take():
                self._go_on()  # what is left may travel beside it
                self._lonely = len(group) == 1
                await self._send(group)
                await asyncio.sleep(0)  # whoever was just answered may call again, and joins the next group
        finally:  # here and not in a callback: whoever was just answered may call again before that runs
            self._under_way -= 1
            self._go_on()

    def _take(self) -> list[tuple[A, asyncio.Future[R]]]:
        group: list[tuple[A, asyncio.Future[R]]] = []
        room = self.room
        share = ceil(len(self._waiting) / (self.parallel - self._under_way + 1))
        most = min(_GROUP, max(_SHARED, share))
        while self._waiting and len(group) < most:
            ask, weight, future = self._waiting[0]
            if not future.cancelled():
                room -= weight
                if group and room < 0:
                    break
                group.append((ask, future))
            self._waiting.popleft()
        return group

    async def _send(self, group: list[tuple[A, asyncio.Future[R]]]) -> None:
        try:
            answers = await self._together([ask for ask, _ in group])
        except Exception as error:  # noqa: BLE001 - handed to every caller, not swallowed
            for ask, future in group:
                if self._again_alone and len(group) > 1:
                    await self._send([(ask, future)])
                elif not future.done():
                    future.set_exception(error)
        except BaseException:
            for _, future in group:
                future.cancel()
            raise
        else:
            for (_, future), answer in zip(group, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
