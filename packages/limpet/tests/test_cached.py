"""Cached items: never stale where that is promised, never staler than said, bounded, and right under races."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from limpet import ClosedError, ConfigurationError, ConflictError, ForeignLoopError, OutcomeUnknownError
from limpet.driver import (
    Append,
    Check,
    Delete,
    Driver,
    If,
    Item,
    Key,
    MemoryDriver,
    Outcome,
    Put,
    Unit,
    key,
    name,
    number,
)
from limpet.wrappers import Cached, Wrapper, cached
from limpet.wrappers import _cached as module
from limpet_conformance import DriverConformance
from limpet_conformance.faults import counted

A, B, C = key(name("a")), key(name("b")), key(name("c"))


class CachedMemory(Cached):
    capabilities = MemoryDriver.capabilities


def caching(url: str) -> Driver:
    return CachedMemory(MemoryDriver.from_url(url))


def caching_little(url: str) -> Driver:
    return CachedMemory(MemoryDriver.from_url(url), max_items=3)


@pytest.mark.again
class TestCachedMemory(DriverConformance):
    factory = f"{__name__}:caching"
    capabilities = MemoryDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"


@pytest.mark.exhaustive
@pytest.mark.again
class TestCachedMemoryThatForgets(TestCachedMemory):
    factory = f"{__name__}:caching_little"


class Shared(Wrapper):
    """As if others could write, without hints; stops where a test says so, before or after the driver is asked."""

    def __init__(self, inner: Driver, *, watch: bool = False) -> None:
        super().__init__(inner)
        self.capabilities = replace(inner.capabilities, shared=True, watch=watch)
        self.before: dict[str, asyncio.Event] = {}
        self.after: dict[str, asyncio.Event] = {}
        self.lose_answers = False

    async def open(self) -> None:
        await self.inner.open()

    async def _stop(self, verb: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if verb in self.before:
            await self.before[verb].wait()
        answer = await call()
        if verb in self.after:
            await self.after[verb].wait()
        return answer

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        found: list[Item | None] = await self._stop("get", lambda: self.inner.get(keys, values=values))
        return found

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes: list[Outcome] = await self._stop("commit", lambda: self.inner.commit(units))
        return [OutcomeUnknownError("lost")] * len(units) if self.lose_answers else outcomes


@pytest.fixture
async def raw() -> AsyncIterator[MemoryDriver]:
    async with MemoryDriver() as driver:
        yield driver


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the cache: set its first element."""
    clock = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    return clock


async def value(driver: Driver, at: Key = A) -> object:
    (item,) = await driver.get([at])
    return None if item is None else item.value


async def test_what_nobody_else_can_write_is_read_from_memory(raw: MemoryDriver) -> None:
    async with Cached(raw) as driver:
        await driver.apply([Put(A, "1"), Put(B, "2")])
        items = await driver.get([A, B, C])
        with counted(raw) as counts:
            assert await driver.get([A, B, C]) == items
            assert await driver.get([C, A, A]) == [items[2], items[0], items[0]]
            assert [item and item.value for item in await driver.get([A, C], values=False)] == [None, None]
            assert await driver.get([]) == []
        assert counts.fetches == 0


async def test_without_max_stale_nothing_is_stale_and_values_move_once(raw: MemoryDriver) -> None:
    async with Cached(Shared(raw)) as driver:
        await raw.apply([Put(A, "1"), Put(B, "2", ttl_ms=60_000)])
        first = await driver.get([A, B, C])
        with counted(raw) as counts:
            second = await driver.get([A, B, C])
        assert counts.fetches == 1
        assert [item and (item.value, item.etag) for item in second] == [
            item and (item.value, item.etag) for item in first
        ]
        await raw.apply([Put(A, "by others"), Delete(B), Put(C, "new")])
        assert [item and item.value for item in await driver.get([A, B, C])] == ["by others", None, "new"]


async def test_a_get_by_etag_is_one_snapshot(raw: MemoryDriver) -> None:
    """Another one writes between the question for the etags and the fetching of what is missing."""
    shared = Shared(raw)
    async with Cached(shared) as driver:
        await raw.apply([Put(A, "1"), Put(B, "1")])
        await driver.get([A])
        shared.after["get"] = asyncio.Event()
        reading = asyncio.create_task(driver.get([A, B]))
        await asyncio.sleep(0)
        await raw.apply([Put(A, "2"), Put(B, "2")])
        shared.after["get"].set()
        assert [item and item.value for item in await reading] == ["2", "2"]


async def test_what_others_write_shows_within_max_stale(raw: MemoryDriver, now: list[float]) -> None:
    async with Cached(Shared(raw), max_stale=2.0) as driver:
        await raw.apply([Put(A, "1")])
        assert await value(driver) == "1"
        assert await value(driver, B) is None
        await raw.apply([Put(A, "2"), Put(B, "2")])
        now[0] += 1.9
        with counted(raw) as counts:
            assert (await value(driver), await value(driver, B)) == ("1", None)
        assert counts.fetches == 0
        now[0] += 0.1
        assert (await value(driver), await value(driver, B)) == ("2", "2")


async def test_the_bound_counts_from_the_question_and_not_from_the_answer(raw: MemoryDriver, now: list[float]) -> None:
    shared = Shared(raw)
    async with Cached(shared, max_stale=2.0) as driver:
        shared.after["get"] = asyncio.Event()
        reading = asyncio.create_task(driver.get([A]))
        await asyncio.sleep(0)
        await raw.apply([Put(A, "1")])
        now[0] += 1.5
        shared.after["get"].set()
        assert await reading == [None]
        now[0] += 0.5
        assert await value(driver) == "1"


async def test_its_own_writes_show_at_once(raw: MemoryDriver) -> None:
    async with Cached(Shared(raw), max_stale=3600) as driver:
        log, entries = key(A, name("n")), key(A, name("e"))

        async def after(write: Awaitable[object], at: Key) -> object:
            await value(driver, at)
            await write
            return await value(driver, at)

        assert await after(driver.apply([Put(A, "1")]), A) == "1"
        assert await after(driver.commit([[Put(A, "2")], [Put(B, "2")]]), A) == "2"
        assert await after(driver.append(log, [Put(entries, "x"), Put(entries, "y")], Check(A)), log) == "2"
        assert await after(driver.append(log, [Put(entries, "z")], Check(A)), key(entries, number(2))) == "z"
        await driver.get([key(entries, number(3)), log])
        await driver.commit([Append(log, (Put(entries, "w"),), Check(A))])
        assert (await value(driver, key(entries, number(3))), await value(driver, log)) == ("w", "4")
        assert await after(driver.apply([Delete(B)]), B) is None
        assert await after(driver.clear(""), A) is None


async def test_an_append_shows_wherever_it_writes(raw: MemoryDriver) -> None:
    log, entries = key(A, name("n")), key(A, name("e"))
    async with Cached(Shared(raw), max_stale=3600) as driver:
        await driver.apply([Put(A, "head"), *(Put(key(entries, number(n)), "in the way") for n in range(2))])
        keys = [key(entries, number(n)) for n in range(2)]
        await driver.get(keys)
        await driver.append(log, [Put(entries, "x")], Check(A))
        await driver.commit([Append(log, (Put(entries, "y"),), Check(A))])
        assert [await value(driver, at) for at in keys] == ["x", "y"]
        await driver.get([key(entries, number(2))])
        await raw.append(log, [Put(entries, "one of ours whose answer was lost")], Check(A))
        assert await value(driver, key(entries, number(2))) is not None


async def test_a_conflict_makes_it_read_again(raw: MemoryDriver) -> None:
    async with Cached(Shared(raw), max_stale=3600) as driver:
        await driver.apply([Put(A, "1"), Put(B, "1")])
        items = await driver.get([A, B])
        await raw.apply([Put(A, "2"), Put(B, "2")])
        assert items[0] is not None
        assert items[1] is not None
        with pytest.raises(ConflictError):
            await driver.apply([Check(A, items[0].etag), Put(C, "x")])
        assert await value(driver) == "2"
        assert await value(driver, B) == "1"
        await driver.commit([[Check(B, items[1].etag)]])
        assert await value(driver, B) == "2"


async def test_hints_make_it_forget(raw: MemoryDriver) -> None:
    async with Cached(Shared(raw, watch=True), max_stale=3600) as driver:
        await asyncio.sleep(0.01)
        assert await value(driver) is None
        await raw.apply([Put(A, "1")])
        await asyncio.sleep(0.01)
        assert await value(driver) == "1"


async def test_a_get_under_way_while_a_write_passes_keeps_nothing_old(raw: MemoryDriver) -> None:
    """Every order of: the get reads, its answer comes, the write begins, is done, its answer comes."""
    shared = Shared(raw)

    async def start(driver: Driver, text: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(driver.apply([Put(A, text)]))
        await asyncio.sleep(0)
        return task

    async with Cached(shared, max_stale=3600) as driver:
        for turn, (hold_get, hold_write) in enumerate(
            [(side, other) for side in ("before", "after") for other in ("before", "after")]
        ):
            for get_first in (True, False):
                for answer_get_first in (True, False):
                    await raw.apply([Put(A, "old")])
                    driver._forget([A])
                    stop_get = getattr(shared, hold_get)["get"] = asyncio.Event()
                    stop_write = getattr(shared, hold_write)["commit"] = asyncio.Event()
                    text = f"new {turn}"
                    writing = None if get_first else await start(driver, text)
                    reading = asyncio.create_task(driver.get([A]))
                    await asyncio.sleep(0)
                    writing = writing or await start(driver, text)
                    for stop, task in [(stop_get, reading), (stop_write, writing)][:: 1 if answer_get_first else -1]:
                        stop.set()
                        await task
                    shared.before.clear()
                    shared.after.clear()
                    assert await value(driver) == text


async def test_no_reader_sees_half_of_a_batch(raw: MemoryDriver) -> None:
    """Readers from memory, beside writers that are slow to hear that they are done."""

    class Slow(Wrapper):
        async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
            await asyncio.sleep(random.choice([0, 0, 0.001]))
            items = await self.inner.get(keys, values=values)
            await asyncio.sleep(random.choice([0, 0, 0.001]))
            return items

        async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
            await asyncio.sleep(random.choice([0, 0.001]))
            outcomes = await self.inner.commit(units)
            await asyncio.sleep(random.choice([0, 0.001]))
            return outcomes

    random = Random(1)
    async with Cached(Slow(raw)) as driver:
        await driver.apply([Put(A, "0"), Put(B, "0")])
        done = 0

        async def write() -> None:
            nonlocal done
            for n in range(1, 60):
                await driver.apply([Put(A, str(n)), Put(B, str(n))])
                done = n

        async def read() -> None:
            while done < 59:
                least = done
                for keys in ([A], [B], [A, B], [B, A]):
                    items = await driver.get(keys)
                    found = {int(str(item.value)) for item in items if item is not None}
                    assert len(found) == 1
                    assert found.pop() >= least

        await asyncio.gather(write(), *(read() for _ in range(4)))


@pytest.mark.parametrize("how", ["lost", "lost in a group", "cancelled"])
async def test_after_an_unknown_outcome_it_asks_for_a_while(raw: MemoryDriver, now: list[float], how: str) -> None:
    shared = Shared(raw)
    async with Cached(shared, max_stale=3600) as driver:
        if how == "cancelled":
            shared.before["commit"] = asyncio.Event()
            task = asyncio.create_task(driver.apply([Put(A, "1")]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            shared.lose_answers = True
            if how == "lost":
                with pytest.raises(OutcomeUnknownError):
                    await driver.apply([Put(A, "1")])
            else:
                await driver.commit([[Put(A, "1")]])
        await value(driver)
        await raw.apply([Put(A, "applied late")])
        assert await value(driver) == "applied late"
        now[0] += 61
        await value(driver)
        await raw.apply([Put(A, "by others")])
        assert await value(driver) == "applied late"


async def test_nothing_is_given_after_it_expired(now: list[float]) -> None:
    host = [5_000_000]
    async with MemoryDriver(clock=lambda: host[0]) as raw, Cached(raw) as driver:
        await driver.apply([Put(A, "1", ttl_ms=1000)])
        await value(driver)
        now[0] += 0.4004
        (item,) = await driver.get([A])
        assert item is not None
        assert item.ttl_ms == 599
        now[0] += 0.5996
        host[0] += 1000
        assert await value(driver) is None


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
async def test_it_is_bounded_and_forgets_what_was_used_least(raw: MemoryDriver, shared: bool) -> None:
    keys = [key(name("k"), number(at)) for at in range(10)]
    await raw.apply([Put(at, "x" * 1000) for at in keys])
    for bound, room in (({"max_items": 4}, 4), ({"max_bytes": 6000}, 4), ({"max_bytes": 1000}, 0)):
        driver = Cached(Shared(raw) if shared else raw, **bound)
        await driver.open()
        for at in keys[:4]:
            await driver.get([at])
        await driver.get([keys[0]])
        for at in keys[4:6]:
            await driver.get([at])
        assert list(driver._kept) == [keys[3], keys[0], *keys[4:6]][-room:] if room else not driver._kept
        assert driver._bytes == sum(kept.size for kept in driver._kept.values())


async def test_nothing_is_given_after_close_or_on_another_loop() -> None:
    driver = Cached(MemoryDriver())
    await driver.open()
    await driver.apply([Put(A, "1")])
    await asyncio.sleep(0.01)  # until the hint about this write was heard
    await value(driver)

    def elsewhere() -> None:
        with pytest.raises(ForeignLoopError):
            asyncio.run(driver.get([A]))

    await asyncio.to_thread(elsewhere)
    assert await value(driver) == "1"
    await driver.close()
    await driver.close()
    with pytest.raises(ClosedError):
        await driver.get([A])


async def test_a_lost_watch_is_taken_up_again(raw: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    from limpet import UnavailableError

    class Cut(Shared):
        watched = 0

        async def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
            self.watched += 1
            yield None
            if self.watched < 3:
                raise UnavailableError("cut")
            await asyncio.Event().wait()

    monkeypatch.setattr(module, "_LISTEN_AGAIN", 0.001)
    cut = Cut(raw, watch=True)
    async with Cached(cut, max_stale=3600) as driver:
        await asyncio.sleep(0)
        await value(driver)
        await raw.apply([Put(A, "while nobody listened")])
        await asyncio.sleep(0.05)
        assert cut.watched == 3
        assert await value(driver) == "while nobody listened"


@pytest.mark.parametrize(
    "options",
    [
        *({"max_stale": wrong} for wrong in (-1, True, float("inf"), "1")),
        *({"max_items": wrong} for wrong in (0, True)),
        *({"max_bytes": wrong} for wrong in (0, 1.5)),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        cached(**options)(MemoryDriver())


async def test_conditions_are_the_drivers_business(raw: MemoryDriver) -> None:
    async with Cached(Shared(raw), max_stale=3600) as driver:
        assert await value(driver) is None
        await raw.apply([Put(A, "by others")])
        with pytest.raises(ConflictError):
            await driver.apply([Put(A, "mine", If.ABSENT)])
