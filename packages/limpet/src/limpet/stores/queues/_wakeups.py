"""Waking tasks that wait for changes below a key: by this process, by the driver's watch, or by polling."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate

from ..._errors import LimpetError
from ...driver import Driver, Key
from ...driver.kit import forked_since

__all__ = ["Wakeups"]

_ANYWAY = 5.0
"""Seconds after which every task looks again even if nothing woke it: change notifications may be lost."""


class Wakeups:
    """One watch on a driver for any number of waiting tasks. It starts with the first and ends with the last."""

    def __init__(self, driver: Driver, base: Key, poll: float) -> None:
        """`poll` is how many seconds pass before a task is woken if the driver has no change notifications."""
        self._driver = driver
        self._base = base
        self.poll = poll
        self._waiting: dict[Key, set[asyncio.Event]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._process = os.getpid()
        self._ending: set[asyncio.Task[None]] = set()

    @contextmanager
    def waiting(self, at: Key) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever something below `at` may have changed. Clear it before looking."""
        woken = asyncio.Event()
        self._waiting.setdefault(at, set()).add(woken)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._look_again())]
            if self._driver.capabilities.watch:
                self._tasks.append(asyncio.create_task(self._listen()))
        try:
            yield woken
        finally:
            self._waiting[at].discard(woken)
            if not self._waiting[at]:
                del self._waiting[at]
            if not self._waiting:
                self._end()

    def wake(self, at: Key | None) -> None:
        """Note that something below `at` has changed, or anything (`None`)."""
        for woken in (
            self._waiting.get(at, ()) if at is not None else [w for all in self._waiting.values() for w in all]
        ):
            woken.set()

    async def close(self) -> None:
        """Wake all tasks for the last time."""
        self.wake(None)
        self._end()
        if self._ending and not forked_since(self._process):
            await asyncio.wait(self._ending)

    def _end(self) -> None:
        if forked_since(self._process):  # the tasks are the parent's
            self._tasks = []
        for task in self._tasks:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        self._tasks = []

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(_ANYWAY if self._driver.capabilities.watch else self.poll)
            self.wake(None)

    async def _listen(self) -> None:
        while True:
            with suppress(LimpetError):
                async for keys in self._driver.watch(self._base):
                    if keys is None:
                        self.wake(None)
                        continue
                    for at in {at for changed in keys for at in accumulate(changed.split("!"), "{}!{}".format)}:
                        if at in self._waiting:
                            self.wake(at)
            await asyncio.sleep(self.poll)  # without a watch, look now and then
            self.wake(None)
