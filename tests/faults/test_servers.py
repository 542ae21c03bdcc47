"""A server dies, hangs, is not there, and ends connections while nobody uses them: the same promises on each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from limpet import ConfigurationError, OutcomeUnknownError, UnavailableError
from limpet.driver import Check, Driver, If, Put
from limpet_conformance.machinery.reading import walk
from limpet_conformance.servers import free_port

if TYPE_CHECKING:
    from tests.faults.conftest import Site

pytestmark = pytest.mark.slow


@pytest.mark.fault("killed")
async def test_what_was_acknowledged_outlives_a_kill_in_the_middle_of_writes(
    site: Site, driver: Driver, happened: Callable[[str], None]
) -> None:
    head = Put("log", "")
    await driver.apply([head, Put("log!n", "0")])
    acknowledged: dict[str, str] = {}
    unknown: dict[str, str] = {}
    numbers: list[int] = []
    count = lost = 0
    stopped = False

    async def write(writer: int) -> None:
        nonlocal count, lost
        n = 0
        while not stopped:
            n += 1
            pair = [Put(f"kv!@{writer}", str(n)), Put(f"kv!@{writer}!@copy", str(n))]
            try:
                await driver.apply(pair)
                count += 1
                acknowledged[pair[0].key] = str(n)
                unknown.pop(pair[0].key, None)
            except OutcomeUnknownError:
                lost += 1
                unknown[pair[0].key] = str(n)
            except UnavailableError:
                await asyncio.sleep(0.01)

    async def append() -> None:
        nonlocal lost
        while not stopped:
            try:
                numbers.append(await driver.append("log!n", [Put("log!e", "x")], Check("log", head.etag)))
            except OutcomeUnknownError:
                lost += 1
            except UnavailableError:
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(write(n)) for n in range(4)] + [asyncio.create_task(append())]
    for _ in range(4):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(site.server.kill)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(site.server.start)
    await asyncio.sleep(0.3)
    stopped = True
    await asyncio.gather(*tasks)
    assert len(acknowledged) == 4
    for key, value in acknowledged.items():
        first, copy = await driver.get([key, f"{key}!@copy"])
        assert first is not None
        assert copy is not None
        assert first.value == copy.value, "half of a batch"
        assert str(first.value) in {value, unknown.get(key, value)}
    assert numbers == sorted(set(numbers)), "a number was given twice"
    found = {item.key for item in await walk(driver, "log!e")}
    assert {f"log!e!{n:016}" for n in numbers} <= found
    assert len(found) <= len(numbers) + lost, "an append happened twice"
    happened(f"4 kills; {count + len(numbers):,} acknowledged writes all there; {lost} outcomes unknown, none twice")


@pytest.mark.fault("restarted")
async def test_after_a_restart_the_next_call_works(site: Site, driver: Driver, happened: Callable[[str], None]) -> None:
    await asyncio.gather(*(driver.apply([Put(f"kv!@{n}", "x")]) for n in range(8)))
    await asyncio.to_thread(site.server.kill)
    await asyncio.to_thread(site.server.start)
    assert (await driver.get(["kv!@1"]))[0] is not None
    await asyncio.to_thread(site.server.kill)
    await asyncio.to_thread(site.server.start)
    await driver.apply([Put("kv!@1", "y", If.PRESENT)])
    happened("the next read and the next write work, without an error")


@pytest.mark.fault("hangs")
async def test_a_server_that_hangs_is_given_up(site: Site, driver: Driver, happened: Callable[[str], None]) -> None:
    await driver.apply([Put("kv!@a", "before")])
    site.server.pause()
    try:
        started = monotonic()
        with pytest.raises(UnavailableError, match="answer") as caught:
            await driver.get(["kv!@a"])
        took = monotonic() - started
        assert took < 10
    finally:
        site.server.resume()
    back = await site.again(driver, Put("kv!@a", "after"))
    happened(f"`{type(caught.value).__name__}` after {took:.1f} s of 3; works {back:.1f} s after it answers again")


@pytest.mark.fault("stopped")
async def test_a_write_to_a_server_that_hangs_is_known_or_unknown_and_never_twice(
    site: Site, driver: Driver, happened: Callable[[str], None]
) -> None:
    counter, head = Put("kv!@n", "0"), Put("log", "")
    await driver.apply([counter, head, Put("log!n", "0")])
    writing = asyncio.create_task(driver.apply([Put("kv!@n", "1", counter.etag)]))
    appending = asyncio.create_task(driver.append("log!n", [Put("log!e", "x")], Check("log", head.etag)))
    site.server.pause()
    await asyncio.sleep(4)  # beyond the driver's timeout
    site.server.resume()
    outcomes = await asyncio.gather(writing, appending, return_exceptions=True)
    assert all(isinstance(outcome, int | None | UnavailableError | OutcomeUnknownError) for outcome in outcomes)
    await site.again(driver, Put("kv!@other", "x"))
    (item,) = await driver.get(["kv!@n"])
    assert item is not None
    assert item.value in ({"1"} if outcomes[0] is None else {"0", "1"})
    entries = await walk(driver, "log!e")
    assert len(entries) == 1 if isinstance(outcomes[1], int) else len(entries) <= 1
    said = ["acknowledged" if not isinstance(o, Exception) else f"`{type(o).__name__}`" for o in outcomes]
    happened(f"a put {said[0]}, an append {said[1]}; nothing twice")


async def test_a_watch_goes_on_after_a_restart(site: Site) -> None:
    async with site.driver(**({"watch": "true"} if site.kind == "postgresql" else {})) as driver:
        if not driver.capabilities.watch:
            pytest.skip("not declared: watch")
        hints = driver.watch("kv")
        assert await anext(hints) is None
        await asyncio.to_thread(site.server.kill)
        await asyncio.to_thread(site.server.start)
        async with asyncio.timeout(20):
            assert await anext(hints) is None
            await site.again(driver, Put("kv!@a", "x"))
            assert await anext(hints) == frozenset({"kv!@a"})
        await hints.aclose()  # type: ignore[attr-defined]


@pytest.mark.fault("absent")
async def test_nobody_listens(site: Site, happened: Callable[[str], None]) -> None:
    port = site.server.url.rpartition(":")[2].partition("/")[0]
    driver = site.driver(site.server.url.replace(port, str(free_port())), connect_timeout=2)
    started = monotonic()
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        await driver.open()
    took = monotonic() - started
    assert took < 5
    happened(f"`open` raises `{type(caught.value).__name__}` after {took:.1f} s of 2")


@pytest.mark.fault("credentials")
async def test_credentials_that_are_wrong(site: Site, happened: Callable[[str], None]) -> None:
    scheme, _, at = site.server.url.partition("://")
    driver = site.driver(f"{scheme}://nobody:secret@{at.rpartition('@')[2]}")
    with pytest.raises(ConfigurationError, match="password") as caught:
        await driver.open()
    assert "secret" not in str(caught.value)
    happened(f"`open` raises `{type(caught.value).__name__}`: check the user and the password")


@pytest.mark.fault("cancelled")
async def test_who_is_cancelled_leaves_a_usable_connection(
    site: Site, driver: Driver, happened: Callable[[str], None]
) -> None:
    for n in range(40):
        call = asyncio.create_task(driver.apply([Put(f"kv!@{n}", "x"), Put(f"kv!@{n}!@copy", "x")]))
        await asyncio.sleep(0.0005 * (n % 8))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    for n in range(40):
        first, copy = await driver.get([f"kv!@{n}", f"kv!@{n}!@copy"])
        assert (first is None) == (copy is None)
    await asyncio.gather(*(driver.apply([Put(f"kv!@{n}", "y")]) for n in range(40)))
    happened("40 cancelled batches whole or absent; every later call works")


async def test_a_cancelled_write_costs_no_later_one(site: Site) -> None:
    """The next call uses the connection on which one was cancelled: what it acknowledges is there for everybody."""
    base = f"s{uuid4().hex}"
    async with site.driver(base=base, pool_size=1) as driver, site.driver(base=base, pool_size=1) as other:
        await driver.apply([Put("kv!@a", "0"), Put("kv!@b", "0")])
        for n in range(60):
            (item,) = await driver.get(["kv!@a"])
            assert item is not None
            call = asyncio.create_task(
                driver.apply([Put("kv!@a", str(n), item.etag), Put("kv!@b", str(n), If.PRESENT)])
            )
            for _ in range(n % 20):
                await asyncio.sleep(0)
            await asyncio.sleep(n // 20 * 0.0005)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await driver.apply([Put("kv!@after", str(n)), Put("kv!@too", str(n), If.ABSENT if n == 0 else If.PRESENT)])
            found = await other.get(["kv!@a", "kv!@b", "kv!@after", "kv!@too"])
            first, second, after, too = (item and item.value for item in found)
            assert first == second, "half of a batch"
            assert (after, too) == (str(n), str(n)), "an acknowledged write is not there"
