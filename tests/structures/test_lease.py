"""The lease, on every driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from limpet import ConflictError, InvalidValueError, LeaseLostError, LeaseTimeoutError, NestedLeaseError
from limpet.driver import Delete, Driver, If, Outcome, Put, Unit, key, name, text
from limpet.structures import Lease
from limpet_conformance.faults import dropped, swallowed

BASE = key(name("leases"), text("a"))


async def test_one_holder_at_a_time_with_rising_tokens(driver: Driver) -> None:
    inside = 0
    tokens: list[int] = []

    async def units() -> None:
        nonlocal inside
        async with Lease(driver, BASE).hold(ttl=5) as handle:
            inside += 1
            assert inside == 1
            tokens.append(handle.token)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(units() for _ in range(4)))
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 4


async def test_waiting_ends_with_the_timeout(driver: Driver) -> None:
    lease = Lease(driver, BASE)
    handle = await lease.acquire(ttl=10)
    with pytest.raises(LeaseTimeoutError):
        await lease.acquire(ttl=1, timeout=0)
    with pytest.raises(TimeoutError):
        await lease.acquire(ttl=1, timeout=0.1)
    assert await lease.release(handle)
    assert not await lease.release(handle)
    again = await lease.acquire(ttl=1, timeout=0)
    assert again.token == handle.token + 1
    with pytest.raises(InvalidValueError):
        await lease.acquire(ttl=0)


async def test_a_dead_holder_gives_way_and_its_writes_are_refused(driver: Driver) -> None:
    lease = Lease(driver, BASE)
    dead = await lease.acquire(ttl=0.15)
    await driver.apply([dead.check, Put("kv!@a", "by the first")])
    alive = await lease.acquire(ttl=5, timeout=2)
    assert dead.left == 0
    with pytest.raises(LeaseLostError):
        dead.ensure()
    with pytest.raises(ConflictError):
        await driver.apply([dead.check, Put("kv!@a", "too late")])
    with pytest.raises(LeaseLostError):
        await lease.renew(dead)
    await driver.apply([alive.check, Put("kv!@a", "by the second")])
    assert not await lease.release(dead)
    alive.ensure()


async def test_renewal_keeps_it_and_never_refuses_the_holders_writes(driver: Driver) -> None:
    lease = Lease(driver, BASE)
    async with lease.hold(ttl=0.3) as handle:
        for n in range(20):
            await driver.apply([handle.check, Put("kv!@a", str(n))])
            await asyncio.sleep(0.03)
        assert handle.left > 0
        with pytest.raises(LeaseTimeoutError):
            await lease.acquire(timeout=0)
    await lease.acquire(timeout=0)


async def test_a_renewal_whose_answer_was_lost_does_not_lose_the_lease(driver: Driver) -> None:
    lease = Lease(driver, BASE)
    handle = await lease.acquire(ttl=30)
    with swallowed(driver), dropped(driver, "_fetch", times=9), pytest.raises(ConnectionError):
        await lease.renew(handle)
    await lease.renew(handle)
    assert not handle.lost.is_set()
    assert await lease.release(handle)


async def test_what_the_block_leaves_is_written_with_the_release_or_not_at_all(driver: Driver) -> None:
    lease, other = Lease(driver, BASE), Lease(driver, BASE)
    async with lease.hold(reading=["kv!@a"]) as handle:
        assert handle.reads["kv!@a"] is None
        handle.saves = [Put("kv!@a", "1", If.ABSENT)]

    async def fail() -> None:
        async with lease.hold() as handle:
            handle.saves = [Put("kv!@a", "2")]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with other.hold(reading=["kv!@a"], timeout=0) as handle:
        item = handle.reads["kv!@a"]
        assert item is not None
        assert item.value == "1"
        with pytest.raises(NestedLeaseError):
            await lease.hold().__aenter__()
        held = handle
        handle.saves = [Delete("kv!@a", item.etag)]
    assert not await other.release(held)
    with pytest.raises(LeaseLostError):
        async with lease.hold() as handle:
            handle.saves = [Put("kv!@a", "4", If.PRESENT)]
    async with asyncio.timeout(5), other.hold(reading=["kv!@a"]) as handle:
        assert handle.reads["kv!@a"] is None, "and the lease is free although its writes were refused"


@pytest.mark.parametrize("there", [True, False])
async def test_what_a_late_holder_still_saves_is_seen_by_the_next(driver: Driver, there: bool) -> None:
    """Its lease has expired, nobody has acquired it, and it saves between the next one's reading and acquiring."""
    late, following = Lease(driver, BASE), Lease(driver, BASE)
    if there:
        await driver.apply([Put("kv!@a", "before")])
    handle = await late.acquire(ttl=30, reading=["kv!@a"])
    await driver.apply([Delete(late.base)])
    commit = driver.commit

    async def after_the_late_one(units: Sequence[Unit]) -> list[Outcome]:
        driver.commit = commit  # type: ignore[method-assign]
        assert await late.release(handle, Put("kv!@a", "late"))
        return await commit(units)

    driver.commit = after_the_late_one  # type: ignore[method-assign]
    handle = await following.acquire(ttl=30, reading=["kv!@a"])
    item = handle.reads["kv!@a"]
    if there:
        assert item is not None
        assert item.value == "late"
    else:
        assert not await following.release(handle, Put("kv!@a", "over it", If.ABSENT)), "so it cannot be overwritten"
    assert [item.value for item in await driver.get(["kv!@a"]) if item] == ["late"]


async def test_what_the_one_before_made_is_seen_although_it_was_absent_a_moment_ago(driver: Driver) -> None:
    quick, slow = Lease(driver, BASE), Lease(driver, BASE)
    commit = driver.commit

    async def after_the_quick_one(units: Sequence[Unit]) -> list[Outcome]:
        driver.commit = commit  # type: ignore[method-assign]
        async with quick.hold(reading=["kv!@a"]) as handle:
            handle.saves = [Put("kv!@a", "quick", If.ABSENT)]
        return await commit(units)

    driver.commit = after_the_quick_one  # type: ignore[method-assign]
    handle = await slow.acquire(reading=["kv!@a"])
    item = handle.reads["kv!@a"]
    assert item is not None
    assert item.value == "quick"


async def test_cancelled_while_waiting_or_holding_leaves_it_free(driver: Driver) -> None:
    lease = Lease(driver, BASE)
    for delay in (0.0, 0.0001, 0.001, 0.01):
        held = asyncio.Event()

        async def hold(held: asyncio.Event = held) -> None:
            async with lease.hold(ttl=30):
                held.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(hold())
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        started = time.monotonic()
        handle = await lease.acquire(ttl=30, timeout=2)
        assert time.monotonic() - started < 2
        await lease.release(handle)
