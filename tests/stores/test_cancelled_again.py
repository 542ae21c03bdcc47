"""Whoever is cancelled gives back what it took, at once: also under anyio, which cancels again at every await."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import anyio
import pytest
from limpet import Persistence, create_persistence
from limpet.driver import Driver, MemoryDriver, key, name
from limpet.structures import Lease
from limpet.wrappers import Wrapper

Use: TypeAlias = Callable[[Persistence], Awaitable[object]]

LONG = 30.0
"""Seconds that everything lasts which is taken here: who waits for less gets it only where it was given back."""


async def lease(persistence: Persistence, *, timeout: float | None = None) -> None:
    async with Lease(persistence.driver, key(name("locks"))).hold(ttl=LONG, timeout=timeout):
        await asyncio.sleep(0.001)


async def state(persistence: Persistence, *, timeout: float | None = None) -> None:
    async with persistence.state(dict, "agent", factory=dict, timeout=timeout, history=2) as held:
        held["n"] = held.get("n", 0) + 1
        await asyncio.sleep(0.001)


async def claim(persistence: Persistence, *, timeout: float | None = None) -> None:
    async with await persistence.approvals.claim("a", by="ada", decision="approve", lease=LONG):
        await asyncio.sleep(0.001)
        raise NotYetError


async def job(persistence: Persistence, *, timeout: float | None = None) -> None:
    jobs = await persistence.work("q", lease=LONG, max_attempts=10_000).claim()
    assert jobs or timeout is None
    for each in jobs:
        async with each:
            await asyncio.sleep(0.001)
            await each.retry(delay=0)
            return


class NotYetError(Exception):
    """Gives the claim back."""


USES: dict[str, Any] = {use.__name__: use for use in (lease, state, claim, job)}


async def prepared(persistence: Persistence) -> None:
    await persistence.approvals.create(thread_id="t", agent_name="a", node_name="n", state=1, id="a")
    await persistence.work("q").put("job")


async def cancelled_by_anyio(use: Awaitable[object], turns: int) -> None:
    with anyio.CancelScope() as scope:

        async def later() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            scope.cancel()

        cancelling = asyncio.create_task(later())
        with suppress(NotYetError):
            await use
    cancelling.cancel()


async def cancelled_plainly(use: Awaitable[object], turns: int) -> None:
    task = asyncio.ensure_future(use)
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with suppress(asyncio.CancelledError, NotYetError):
        await task


@pytest.mark.parametrize("cancelled", [cancelled_by_anyio, cancelled_plainly], ids=["anyio", "plain"])
@pytest.mark.parametrize("kind", USES)
async def test_what_was_taken_is_given_back_at_once(
    kind: str, cancelled: Callable[[Awaitable[object], int], Awaitable[None]], persistence: Persistence
) -> None:
    use = USES[kind]
    await prepared(persistence)
    for turns in (*range(12), *range(12, 60, 8), 100, 200):
        await cancelled(use(persistence), turns)
        async with asyncio.timeout(10):
            with suppress(NotYetError):
                await use(persistence, timeout=5)


class Slow(Wrapper):
    """Answers late: whatever is cancelled meanwhile was applied all the same."""

    async def commit(self, units: Any) -> Any:
        outcomes = await self.inner.commit(units)
        await asyncio.sleep(0.02)
        return outcomes


@asynccontextmanager
async def slow() -> AsyncIterator[Persistence]:
    async with MemoryDriver() as memory, create_persistence(memory, wrappers=[Slow]) as persistence:
        yield persistence


@pytest.mark.parametrize("cancelled", [cancelled_by_anyio, cancelled_plainly], ids=["anyio", "plain"])
@pytest.mark.parametrize("kind", USES)
async def test_although_the_answer_comes_late(
    kind: str, cancelled: Callable[[Awaitable[object], int], Awaitable[None]]
) -> None:
    use = USES[kind]
    async with slow() as persistence:
        await prepared(persistence)
        for turns in range(0, 24, 2):
            await cancelled(use(persistence), turns)
            async with asyncio.timeout(5):
                with suppress(NotYetError):
                    await use(persistence, timeout=3)


@pytest.mark.parametrize("cancelled", [cancelled_by_anyio, cancelled_plainly], ids=["anyio", "plain"])
async def test_a_place_that_is_left_by_a_cancelled_task_is_closed(
    cancelled: Callable[[Awaitable[object], int], Awaitable[None]],
) -> None:
    for turns in range(12):
        drivers: list[Driver] = []

        async def use(drivers: list[Driver] = drivers) -> None:
            async with create_persistence("memory://", wrappers=[Slow]) as persistence:
                drivers.append(persistence.driver)
                async with persistence.events(poll=0.01) as queue:
                    await queue.subscribe("c", lambda event: None)
                    await asyncio.sleep(1)

        await cancelled(use(), turns)
        assert all(not driver.is_open for driver in drivers)


async def test_the_cancellation_is_what_comes_out() -> None:
    async with slow() as persistence:
        with anyio.move_on_after(0.001) as scope:
            await lease(persistence)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await state(persistence)
