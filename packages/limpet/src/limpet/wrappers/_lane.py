"""Calls of one kind that join while they wait: the coalescer has a lane for writes and two for reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Lane"]

A = TypeVar("A")
R = TypeVar("R")

_GROUP = 1024
_SHARED = 512
"""From how many calls on a group is worth cutting up, so that the server works on one part while we write the next."""


class _Asked(NamedTuple, Generic[A, R]):
    """A call that waits."""

    ask: A
    turn: str | None
    weight: int
    future: asyncio.Future[R]


class Lane(Generic[A, R]):
    """Each call waits one tick; alone after that it goes straight through, else it travels with those that joined.

    After a call that stayed alone the next one does not wait: who calls one after the other pays nothing. At most
    `parallel` calls or groups are under way; whoever comes meanwhile waits and joins the next one. What takes turns, as
    appends to one log do, is under way once: a second one would only wait for the first in the database.
    """

    def __init__(
        self,
        alone: Callable[[A], Awaitable[R]],
        together: Callable[[Sequence[A]], Awaitable[Sequence[R]]],
        weight: Callable[[A], int],
        *,
        again_alone: bool,
        turn: Callable[[A], str | None] = lambda _ask: None,
    ) -> None:
        """A group's weights stay within `room`. `again_alone`: when a group fails, each call is made by itself.

        `turn` names what a call takes turns at.
        """
        self._alone = alone
        self._together = together
        self._weight = weight
        self._again_alone = again_alone
        self._turn = turn
        self.room = 0
        self.parallel = 1
        self._waiting: deque[_Asked[A, R]] = deque()
        self._turns: set[str | None] = set()
        """Whose turn it is."""
        self._leading = False
        self._lonely = False
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()

    async def call(self, ask: A) -> R:
        """The answer to `ask`, or the error that it got."""
        turn = self._turn(ask)
        if self._leading or self._waiting or self._under_way >= self.parallel or turn in self._turns:
            future = self._join(ask, turn)
            if not self._leading and turn not in self._turns:
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
            if self._waiting or turn in self._turns:
                try:
                    future = self._join(ask, turn, first=True)
                finally:
                    self._go_on()
                return await future
            self._lonely = True
        self._under_way += 1
        self._turns |= {turn} - {None}
        try:
            return await self._alone(ask)
        finally:
            self._under_way -= 1
            self._turns -= {turn}
            self._go_on()

    async def drained(self) -> None:
        """Return when nothing waits and nothing is under way."""
        while self._leading or self._waiting or self._under_way:
            self._quiet.clear()
            await self._quiet.wait()

    def _join(self, ask: A, turn: str | None, *, first: bool = False) -> asyncio.Future[R]:
        weight = self._weight(ask)  # here, where an error in it is the caller's
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(_Asked(ask, turn, weight, future))
        return future

    def _go_on(self) -> None:
        if self._under_way < self.parallel and any(asked.turn not in self._turns for asked in self._waiting):
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
                try:
                    await self._send(group)
                finally:
                    self._turns -= {asked.turn for asked in group}
                await asyncio.sleep(0)  # whoever was just answered may call again, and joins the next group
        finally:  # here and not in a callback: whoever was just answered may call again before that runs
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
            if asked.turn in self._turns:
                later.append(asked)
                continue
            room -= asked.weight
            if group and room < 0:
                later.append(asked)
                break
            group.append(asked)
        self._waiting.extendleft(reversed(later))
        self._turns |= {asked.turn for asked in group} - {None}
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
