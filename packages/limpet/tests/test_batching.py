"""What is asked at once travels together, and nobody pays for a neighbour."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from limpet import ClosedError, ConflictError, InvalidKeyError, UnavailableError
from limpet.driver import Append, Check, Delete, If, Item, MemoryDriver, Outcome, Put, Unit
from limpet.wrappers import Batching, Wrapper


class Slow(Wrapper):
    """Counts the calls that reach the backend and keeps each one waiting until it is let go."""

    def __init__(self) -> None:
        super().__init__(MemoryDriver())
        self.gate = asyncio.Event()
        self.gate.set()
        self.groups: list[int] = []
        self.gets: list[int] = []

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        await self.asked(self.groups, len(units))
        return await super().commit(units)

    async def get(self, keys: Sequence[str], *, values: bool = True) -> list[Item | None]:
        await self.asked(self.gets, len(keys))
        return await super().get(keys, values=values)

    async def asked(self, counts: list[int], count: int) -> None:
        counts.append(count)
        await asyncio.sleep(0)  # every real backend takes a while
        await self.gate.wait()


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    slow = Slow()
    yield slow
    await slow.close()


@pytest.fixture
async def driver(slow: Slow) -> AsyncIterator[Batching]:
    async with Batching(slow) as driver:
        yield driver


async def test_one_tick_makes_one_group(driver: Batching, slow: Slow) -> None:
    await asyncio.gather(*(driver.apply([Put(f"k!@{n}", str(n))]) for n in range(100)))
    assert slow.groups == [100]
    found = await asyncio.gather(*(driver.get([f"k!@{n}", "k!@0"]) for n in range(100)))
    assert slow.gets == [100], "a key that several ask for is asked for once"
    assert [item and item.value for item, _ in found] == [str(n) for n in range(100)]


async def test_many_are_cut_up_where_a_second_group_may_be_under_way() -> None:
    for parallel, groups in ((1, [1000]), (2, [512, 488])):
        slow = Slow()
        slow.inner.capabilities = replace(slow.capabilities, parallel=parallel)
        async with Batching(slow) as driver:
            await asyncio.gather(*(driver.apply([Put(f"k!@{n}", str(n))]) for n in range(1000)))
        assert slow.groups == groups


async def test_while_one_group_is_under_way_the_next_one_grows(driver: Batching, slow: Slow) -> None:
    slow.gate.clear()
    calls = []
    for n in range(10):
        calls.append(asyncio.create_task(driver.apply([Put(f"k!@{n}", "x")])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    slow.gate.set()
    await asyncio.gather(*calls)
    assert slow.groups == [1, 9]


async def test_a_lone_call_waits_for_one_tick(driver: Batching, slow: Slow) -> None:
    call = asyncio.create_task(driver.apply([Put("k!@a", "x")]))
    await asyncio.sleep(0)
    assert slow.groups == []
    await asyncio.sleep(0)
    assert slow.groups == [1]
    await call


async def test_after_a_lone_call_the_next_one_does_not_wait(driver: Batching, slow: Slow) -> None:
    await driver.apply([Put("k!@a", "x")])
    call = asyncio.create_task(driver.apply([Put("k!@a", "y")]))
    await asyncio.sleep(0)
    assert slow.groups == [1, 1]
    await call
    await asyncio.gather(*(driver.apply([Put(f"k!@{n}", "x")]) for n in range(50)))
    assert slow.groups == [1, 1, 1, 49], "the first of a burst goes alone, the others together"
    await asyncio.gather(*(driver.apply([Put(f"k!@{n}", "x")]) for n in range(50)))
    assert slow.groups == [1, 1, 1, 49, 50], "after company a call waits for it again"


async def test_tasks_that_answer_each_other_stay_together(driver: Batching, slow: Slow) -> None:
    async def chain(n: int) -> None:
        for step in range(20):
            await driver.apply([Put(f"k!@{n}", str(step))])

    await driver.apply([Put("k!@a", "x")])
    await asyncio.gather(*(chain(n) for n in range(30)))
    assert len(slow.groups) <= 25, slow.groups


async def test_who_came_while_a_group_was_under_way_is_joined_by_that_group(driver: Batching, slow: Slow) -> None:
    async def chain(n: int) -> None:
        for step in range(20):
            await driver.apply([Put(f"k!@{n}", str(step))])

    slow.gate.clear()
    early = [asyncio.create_task(chain(n)) for n in range(15)]
    await asyncio.sleep(0.02)
    assert slow.groups == [15]
    late = [asyncio.create_task(chain(n)) for n in range(15, 30)]
    await asyncio.sleep(0)
    slow.gate.set()
    await asyncio.gather(*early, *late)
    assert len(slow.groups) <= 25, slow.groups


async def test_cancelled_while_it_waits_for_company(driver: Batching, slow: Slow) -> None:
    first = asyncio.create_task(driver.apply([Put("k!@a", "x")]))
    await asyncio.sleep(0)
    second = asyncio.create_task(driver.apply([Put("k!@b", "x")]))
    first.cancel()
    await second
    assert slow.groups == [1]
    await asyncio.wait_for(driver.close(), 5)


async def test_a_refused_batch_refuses_nobody_else(driver: Batching) -> None:
    results = await asyncio.gather(
        driver.apply([Put("k!@a", "x")]),
        driver.apply([Put("k!@b", "x", If.PRESENT)]),
        driver.apply([Put("not a key", "x")]),
        driver.apply([Put("k!@c", "x")]),
        driver.append("l!n", [Put("l!e", "x")], Check("no!such")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [
        type(None),
        ConflictError,
        InvalidKeyError,
        type(None),
        ConflictError,
    ]
    reads = await asyncio.gather(
        driver.get(["k!@a"]), driver.get(["not a key"]), driver.get(["k!@c"]), return_exceptions=True
    )
    assert isinstance(reads[1], InvalidKeyError)
    assert not isinstance(reads[0], BaseException)
    assert not isinstance(reads[2], BaseException)
    assert reads[0][0] is not None
    assert reads[2][0] is not None


async def test_cancelling_one_caller_cancels_nobody_else(driver: Batching, slow: Slow) -> None:
    slow.gate.clear()
    sent = [asyncio.create_task(driver.apply([Put(f"k!@{n}", "x")])) for n in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(driver.apply([Put(f"k!@w{n}", "x")])) for n in range(3)]
    await asyncio.sleep(0)
    sent[1].cancel()
    waiting[1].cancel()
    await asyncio.sleep(0)
    slow.gate.set()
    results = await asyncio.gather(*sent, *waiting, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [False, True, False] * 2
    found = await driver.get([f"k!@{n}" for n in ("0", "1", "2", "w0", "w1", "w2")])
    assert [item is not None for item in found] == [True, True, True, True, False, True], (
        "what was not sent is not sent"
    )


async def test_whoever_was_just_answered_may_call_again(driver: Batching) -> None:
    async def chain(n: int) -> None:
        for step in range(20):
            await driver.apply([Put(f"k!@{n}", str(step))])
            (item,) = await driver.get([f"k!@{n}"])
            assert item is not None
            assert item.value == str(step)

    await asyncio.wait_for(asyncio.gather(*(chain(n) for n in range(20))), 10)


async def test_closing_waits_for_what_is_under_way(slow: Slow) -> None:
    driver = Batching(slow)
    await driver.open()
    slow.gate.clear()
    call = asyncio.create_task(driver.apply([Put("k!@a", "x")]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(driver.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    slow.gate.set()
    await asyncio.gather(call, closing)
    with pytest.raises(ClosedError):
        await driver.apply([Delete("k!@a")])
    with pytest.raises(ClosedError):
        await driver.get(["k!@a"])


async def test_appends_of_one_process_travel_as_one_batch(driver: Batching, slow: Slow) -> None:
    await driver.apply([Put("l", "head")])
    numbers = await asyncio.gather(*(driver.append("l!n", [Put("l!e", str(n))], Check("l")) for n in range(50)))
    assert numbers == list(range(50))
    assert slow.groups == [1, 1, 49]


class Turns(Slow):
    """Takes four groups at once, and notes how many appends to each log were under way at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.inner.capabilities = replace(self.inner.capabilities, parallel=4)
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.fails = False

    @contextmanager
    def appending(self, logs: set[str]) -> Iterator[None]:
        self.under_way.update(logs)
        self.most |= self.under_way
        try:
            yield
        finally:
            self.under_way.subtract(logs)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        with self.appending({unit.log for unit in units if isinstance(unit, Append)}):
            if self.fails:
                raise UnavailableError("it is away")
            return await super().commit(units)


async def some(driver: Batching, log: str, times: int) -> list[int]:
    return [await driver.append(f"{log}!n", [Put(f"{log}!e", "x")], Check(log)) for _ in range(times)]


async def test_appends_to_one_log_take_turns_and_those_to_another_do_not_wait() -> None:
    slow = Turns()
    async with Batching(slow) as driver:
        await driver.apply([Put("a", "head"), Put("b", "head")])
        many = [some(driver, "a", 5) for _ in range(20)]
        numbers = await asyncio.wait_for(asyncio.gather(*many, *(some(driver, "b", 5) for _ in range(20))), 10)
        assert sorted(number for found in numbers[:20] for number in found) == list(range(100))
        assert sorted(number for found in numbers[20:] for number in found) == list(range(100))
        assert slow.most == {"a!n": 1, "b!n": 1}
        slow.gate.clear()
        first = asyncio.create_task(some(driver, "a", 1))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(some(driver, "a", 1))
        await asyncio.sleep(0.01)
        other = asyncio.create_task(some(driver, "b", 1))
        await asyncio.sleep(0.01)
        assert slow.under_way == {"a!n": 1, "b!n": 1}
        slow.gate.set()
        assert [*await asyncio.wait_for(asyncio.gather(first, second, other), 5)] == [[100], [101], [100]]


async def test_a_turn_ends_with_a_failure_and_with_a_cancellation() -> None:
    slow = Turns()
    async with Batching(slow) as driver:
        await driver.apply([Put("a", "head")])
        slow.fails = True
        failed = await asyncio.gather(*(some(driver, "a", 1) for _ in range(10)), return_exceptions=True)
        assert [type(each) for each in failed] == [UnavailableError] * 10
        slow.fails = False
        slow.gate.clear()
        calls = [asyncio.create_task(some(driver, "a", 1)) for _ in range(2)]
        await asyncio.sleep(0.01)
        late = asyncio.create_task(some(driver, "a", 1))
        await asyncio.sleep(0.01)
        for call in (*calls, late):
            call.cancel()
        slow.gate.set()
        assert len(await asyncio.wait_for(some(driver, "a", 1), 5)) == 1
