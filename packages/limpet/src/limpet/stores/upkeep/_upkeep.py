"""Background upkeep, in one process at a time of all that share a database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import uniform
from types import TracebackType
from typing import Self

from ..._errors import ClosedError, ConfigurationError, ForkedError, LeaseTimeoutError, LimpetError
from ...driver import Driver, Put, key
from ...driver import name as segment
from ...structures import Lease

__all__ = ["Upkeep"]

_logger = logging.getLogger("limpet")


class Upkeep:
    """Works in the background while its block runs: at once, and then at intervals.

    Of all processes that run it on one database, only one works at a time, and its pass counts for all. If a pass
    fails, the error is logged (`limpet`), and the next pass tries again.
    """

    def __init__(
        self, driver: Driver, work: Callable[[], Awaitable[object]], every: timedelta, *, name: str = "upkeep"
    ) -> None:
        """Objects with the same `name` share the work."""
        self._every = every.total_seconds()
        if self._every <= 0:
            raise ConfigurationError(f"every is {every}: pass more than 0 seconds")
        self._lease = Lease(driver, key("lease", segment(name)))
        self._done = key(self._lease.base, "done")
        """Exists until the work is due again."""
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self.passes: int = 0
        """How many passes this object has completed."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None and self._task.get_loop() is asyncio.get_running_loop():  # not in a forked child
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def _run(self) -> None:
        while True:
            pause = self._every
            try:
                pause = await self._once()
            except LeaseTimeoutError:
                pass  # another process is doing it
            except (ClosedError, ForkedError):
                return
            except LimpetError as error:
                _logger.warning("upkeep failed and will be retried in %.0f s: %s", pause, error)
            await asyncio.sleep(pause + uniform(0.0, 0.1) * pause)

    async def _once(self) -> float:
        """Do a pass if one is due; return the seconds until the next one."""
        async with self._lease.hold(timeout=0, reading=[self._done]) as handle:
            done = handle.reads[self._done]
            if done is not None and done.ttl_ms is not None:  # otherwise it is our own, from before the pause
                return done.ttl_ms / 1000
            await self._work()
            self.passes += 1
            handle.saves = [Put(self._done, "", None, round(self._every * 1000))]
        return self._every
