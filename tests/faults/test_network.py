"""The network between a driver and its server fails: a proxy cuts, delays and swallows what passes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from limpet import ConflictError, OutcomeUnknownError, UnavailableError
from limpet.driver import Check, If, Put, Range
from limpet_conformance.machinery.reading import walk
from limpet_conformance.servers import Proxy

if TYPE_CHECKING:
    from tests.faults.conftest import Site

pytestmark = pytest.mark.slow

Act = Callable[[], Awaitable[Any]]


@pytest.fixture
async def proxy(site: Site) -> AsyncIterator[Proxy]:
    async with Proxy(site.server.url) as proxy:
        yield proxy


async def outcome(act: Act) -> str:
    """`acknowledged`, or the error's name. A lost answer is no conflict: nobody else writes here."""
    try:
        await act()
    except (UnavailableError, OutcomeUnknownError) as error:
        return type(error).__name__
    return "acknowledged"


def table_of(counted: Counter[str]) -> str:
    words = {"OutcomeUnknownError": "outcomes unknown", "UnavailableError": "refused, nothing written"}
    return ", ".join(f"{count} {words.get(word, word)}" for word, count in sorted(counted.items()))


async def cut_everywhere(
    proxy: Proxy, act: Callable[[int], Act], *, acted: bool, check: Callable[[int, str], Awaitable[None]]
) -> Counter[str]:
    """Do it again and again, cut at its first request, its second, and so on, until it needs no more of them."""
    counted: Counter[str] = Counter()
    for skip in range(30):
        proxy.cut(skip=skip, acted=acted)
        word = await outcome(act(skip))
        if proxy.cut_pending:
            proxy.mend()
            assert skip, "nothing was cut"
            return counted
        counted[word] += 1
        await check(skip, word)
    raise AssertionError("one call made more than 30 requests")


@pytest.mark.parametrize(
    "acted",
    [
        pytest.param(False, marks=pytest.mark.fault("cut before"), id="before"),
        pytest.param(True, marks=pytest.mark.fault("cut after"), id="after"),
    ],
)
async def test_a_connection_is_cut(site: Site, proxy: Proxy, acted: bool, happened: Callable[[str], None]) -> None:
    base = f"s{uuid4().hex}"
    total: Counter[str] = Counter()
    async with site.driver(proxy.url, base=base, pool_size=1) as driver, site.driver(base=base) as witness:

        async def value(key: str) -> str | None:
            (item,) = await witness.get([key])
            return None if item is None else str(item.value)

        async def put_check(n: int, word: str) -> None:
            wanted: dict[str, set[str | None]] = {
                "acknowledged": {str(n)},
                "OutcomeUnknownError": {str(n), None},
                "UnavailableError": {None},
            }
            assert await value(f"kv!@put!@{n}") in wanted[word]

        def put(n: int) -> Act:
            return lambda: driver.apply([Put(f"kv!@put!@{n}", str(n))])

        total += await cut_everywhere(proxy, put, acted=acted, check=put_check)

        guards = [Put(f"kv!@guard!@{n}", "old") for n in range(30)]
        await witness.apply(guards)

        def batch(n: int) -> Act:
            return lambda: driver.apply(
                [Put(f"kv!@guard!@{n}", "new", guards[n].etag), Put(f"kv!@new!@{n}", "new", If.ABSENT)]
            )

        async def batch_check(n: int, word: str) -> None:
            there = (await value(f"kv!@guard!@{n}"), await value(f"kv!@new!@{n}"))
            assert there in {("new", "new"), ("old", None)}, "half of a batch"
            if word != "OutcomeUnknownError":
                assert there == (("new", "new") if word == "acknowledged" else ("old", None))

        total += await cut_everywhere(proxy, batch, acted=acted, check=batch_check)

        head = Put("log", "")
        await witness.apply([head, Put("log!n", "0")])
        given: list[int] = []
        unknown = 0

        def append(n: int) -> Act:
            async def act() -> None:
                given.append(await driver.append("log!n", [Put("log!e", str(n))], Check("log", head.etag)))

            return act

        async def append_check(n: int, word: str) -> None:
            nonlocal unknown
            unknown += word == "OutcomeUnknownError"
            entries = await walk(witness, "log!e")
            values = [item.value for item in entries]
            assert len(set(values)) == len(values), "an append happened twice"
            assert len(given) <= len(values) <= len(given) + unknown
            by_key = {item.key: item.value for item in entries}
            if word == "acknowledged":
                assert by_key[f"log!e!{given[-1]:016}"] == str(n)

        total += await cut_everywhere(proxy, append, acted=acted, check=append_check)

        async def readable(_n: int, _word: str) -> None:
            assert (await driver.get(["kv!@guard!@0"]))[0] is not None

        reads = await cut_everywhere(
            proxy, lambda _n: lambda: driver.get(["kv!@guard!@0"]), acted=acted, check=readable
        )
        reads += await cut_everywhere(
            proxy, lambda _n: lambda: driver.scan(Range("kv!@guard")), acted=acted, check=readable
        )
        assert set(reads) == {"acknowledged"}, "a read is asked again"
    happened(
        f"{total.total()} cuts of writes: {table_of(total)}; nothing by halves, nothing twice; {reads.total()} reads asked again"
    )


@pytest.mark.fault("half-open")
async def test_half_open_connections_cost_one_call_its_time_out(
    site: Site, proxy: Proxy, happened: Callable[[str], None]
) -> None:
    async with site.driver(proxy.url, timeout=1, pool_size=4) as driver:
        await asyncio.gather(
            *(driver.apply([Put(f"kv!@{n}", "x", If.ABSENT)]) for n in range(50)),
            *(driver.get([f"kv!@{n}"]) for n in range(50)),
        )
        proxy.silence()
        started = monotonic()
        with pytest.raises(UnavailableError):
            await driver.get(["kv!@1"])
        took = monotonic() - started
        assert took < 5
        started = monotonic()
        for n in range(8):
            (item,) = await driver.get([f"kv!@{n}"])
            assert item is not None
            await driver.apply([Put(f"kv!@{n}", "y", item.etag)])
        rest = monotonic() - started
        assert rest < 1, "the other connections cost a time-out each"
    happened(f"one call fails after its time-out ({took:.1f} s of 1); the others get new connections")


@pytest.mark.fault("half-open")
async def test_a_write_on_a_half_open_connection_is_settled(site: Site, proxy: Proxy) -> None:
    async with site.driver(proxy.url, timeout=1, pool_size=1) as driver:
        put = Put("kv!@a", "before")
        await driver.apply([put])
        proxy.silence()
        word = await outcome(lambda: driver.apply([Put("kv!@a", "after", put.etag)]))
        (item,) = await driver.get(["kv!@a"])
        assert item is not None
        assert (
            item.value
            in {"acknowledged": {"after"}, "OutcomeUnknownError": {"before", "after"}, "UnavailableError": {"before"}}[
                word
            ]
        )


@pytest.mark.fault("slow")
async def test_slow_answers(site: Site, proxy: Proxy, happened: Callable[[str], None]) -> None:
    async with site.driver(proxy.url, timeout=2) as driver:
        await driver.apply([Put("kv!@a", "0")])
        proxy.delay = 0.1
        started = monotonic()
        await driver.apply([Put("kv!@a", "1", If.PRESENT), Put("kv!@b", "1", If.ABSENT)])
        took = monotonic() - started
        assert (await driver.get(["kv!@a"]))[0] is not None
        await asyncio.gather(*(driver.apply([Put(f"kv!@{n}", "x")]) for n in range(12)))
        proxy.delay = 3
        started = monotonic()
        with pytest.raises(UnavailableError):
            await driver.get(["kv!@a"])
        assert monotonic() - started < 9
        proxy.delay = 0
        await site.again(driver, Put("kv!@a", "2"))
    happened(
        f"0.1 s each way: a batch in {took:.1f} s; beyond the time-out `UnavailableError`, and the next call works"
    )


@pytest.mark.fault("busy")
async def test_every_connection_is_busy(site: Site, proxy: Proxy, happened: Callable[[str], None]) -> None:
    async with site.driver(proxy.url, pool_size=1, connect_timeout=2, timeout=10) as driver:
        await driver.apply([Put("kv!@a", "x")])
        proxy.freeze()
        first = asyncio.create_task(driver.get(["kv!@a"]))
        await asyncio.sleep(0.1)
        started = monotonic()
        with pytest.raises(UnavailableError, match="pool_size") as caught:
            await driver.get(["kv!@a"])
        took = monotonic() - started
        assert took < 5
        proxy.thaw()
        assert (await first)[0] is not None
        found = await asyncio.gather(*(driver.get(["kv!@a"]) for _ in range(1000)))
        assert all(item is not None for (item,) in found)
    happened(
        f"`{type(caught.value).__name__}` after {took:.1f} s of 2, naming `pool_size`; 1,000 tasks share one connection"
    )


async def test_a_lost_answer_is_never_a_conflict(site: Site, proxy: Proxy) -> None:
    """Who makes something only if it is absent, and loses the answer, must not be told that somebody else was first."""
    async with site.driver(proxy.url, pool_size=1) as driver:
        for n in range(10):
            proxy.cut(skip=n % 3, acted=True)
            try:
                await driver.apply([Put(f"kv!@{n}", "mine", If.ABSENT)])
            except ConflictError as error:
                pytest.fail(f"its own write was taken for another's: {error}")
            except (UnavailableError, OutcomeUnknownError):
                pass
            proxy.mend()
