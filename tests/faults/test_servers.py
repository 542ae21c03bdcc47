"""A server dies, hangs, and ends connections while nobody uses them: the same promises on each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from uuid import uuid4

import pytest
from holdfast import HoldfastError, OutcomeUnknownError, UnavailableError
from holdfast.driver import Check, Driver, If, Put
from holdfast.opening import driver_from_url
from holdfast_conformance.machinery.reading import walk
from holdfast_conformance.servers import Server, find, free_port, running

PLACE = {"postgresql": "schema", "redis": "base"}
"""Every kind of server, and the option that makes a place of one's own on it."""


@pytest.fixture(scope="module", params=PLACE)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(kind: str) -> Iterator[Server]:
    """One of this module's own: the others must not notice when it dies."""
    if not running(kind).ours:
        pytest.skip("the server belongs to somebody else: it is not killed")
    own = find(kind)
    yield own
    own.end()


def driver_on(server: Server, kind: str, **options: object) -> Driver:
    options = {"timeout": 3, "connect_timeout": 3, "pool_size": 4, PLACE[kind]: f"s{uuid4().hex}", **options}
    return driver_from_url(f"{server.url}?" + "&".join(f"{name}={value}" for name, value in options.items()))


@pytest.fixture
async def driver(server: Server, kind: str) -> AsyncIterator[Driver]:
    async with driver_on(server, kind) as driver:
        yield driver


async def again(driver: Driver, put: Put) -> None:
    """Write until the server is there again."""
    until = monotonic() + 30
    while True:
        try:
            return await driver.apply([put])
        except UnavailableError:
            assert monotonic() < until
            await asyncio.sleep(0.05)


async def test_what_was_acknowledged_outlives_a_kill_in_the_middle_of_writes(server: Server, driver: Driver) -> None:
    head = Put("log", "")
    await driver.apply([head, Put("log!n", "0")])
    acknowledged: dict[str, str] = {}
    unknown: dict[str, str] = {}
    numbers: list[int] = []
    stopped = False

    async def write(writer: int) -> None:
        n = 0
        while not stopped:
            n += 1
            pair = [Put(f"kv!@{writer}", str(n)), Put(f"kv!@{writer}!@copy", str(n))]
            try:
                await driver.apply(pair)
                acknowledged[pair[0].key] = str(n)
                unknown.pop(pair[0].key, None)
            except OutcomeUnknownError:
                unknown[pair[0].key] = str(n)
            except UnavailableError:
                await asyncio.sleep(0.01)

    async def append() -> None:
        while not stopped:
            try:
                numbers.append(await driver.append("log!n", [Put("log!e", "x")], Check("log", head.etag)))
            except (OutcomeUnknownError, UnavailableError):
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(write(n)) for n in range(4)] + [asyncio.create_task(append())]
    for _ in range(4):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.start)
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


async def test_after_a_restart_the_next_call_works(server: Server, driver: Driver) -> None:
    await asyncio.gather(*(driver.apply([Put(f"kv!@{n}", "x")]) for n in range(8)))
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert (await driver.get(["kv!@1"]))[0] is not None
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await driver.apply([Put("kv!@1", "y", If.PRESENT)])


async def test_a_server_that_hangs_is_given_up(server: Server, driver: Driver) -> None:
    await driver.apply([Put("kv!@a", "before")])
    server.pause()
    try:
        started = monotonic()
        with pytest.raises(UnavailableError):
            await driver.get(["kv!@a"])
        assert monotonic() - started < 10
    finally:
        server.resume()
    await again(driver, Put("kv!@a", "after"))


async def test_a_write_to_a_server_that_hangs_is_known_or_unknown_and_never_twice(
    server: Server, driver: Driver
) -> None:
    counter = Put("kv!@n", "0")
    await driver.apply([counter])
    writing = asyncio.create_task(driver.apply([Put("kv!@n", "1", counter.etag)]))
    server.pause()
    await asyncio.sleep(4)  # beyond the driver's timeout
    server.resume()
    try:
        await writing
    except HoldfastError as error:
        assert isinstance(error, OutcomeUnknownError | UnavailableError)  # noqa: PT017 - either is right
    await again(driver, Put("kv!@other", "x"))
    (item,) = await driver.get(["kv!@n"])
    assert item is not None
    assert item.value in ("0", "1")


async def test_a_watch_goes_on_after_a_restart(server: Server, kind: str) -> None:
    async with driver_on(server, kind, **({"watch": "true"} if kind == "postgresql" else {})) as driver:
        hints = driver.watch("kv")
        assert await anext(hints) is None
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(20):
            assert await anext(hints) is None
            await again(driver, Put("kv!@a", "x"))
            assert await anext(hints) == frozenset({"kv!@a"})
        await hints.aclose()  # type: ignore[attr-defined]


async def test_nobody_listens(server: Server, kind: str) -> None:
    port = server.url.rpartition(":")[2].partition("/")[0]
    driver = driver_from_url(server.url.replace(port, str(free_port())) + "?connect_timeout=2")
    started = monotonic()
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await driver.open()
    assert monotonic() - started < 5


async def test_who_is_cancelled_leaves_a_usable_connection(driver: Driver) -> None:
    for n in range(40):
        call = asyncio.create_task(driver.apply([Put(f"kv!@{n}", "x"), Put(f"kv!@{n}!@copy", "x")]))
        await asyncio.sleep(0.0005 * (n % 8))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    for n in range(40):
        first, copy = await driver.get([f"kv!@{n}", f"kv!@{n}!@copy"])
        assert (first is None) == (copy is None)
    await asyncio.gather(*(driver.apply([Put(f"kv!@{n}", "y")]) for n in range(40)))


async def test_a_cancelled_write_costs_no_later_one(server: Server, kind: str) -> None:
    """The next call uses the connection on which one was cancelled: what it acknowledges is there for everybody."""
    base = f"s{uuid4().hex}"
    options = {PLACE[kind]: base, "pool_size": 1}
    async with driver_on(server, kind, **options) as driver, driver_on(server, kind, **options) as other:
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
