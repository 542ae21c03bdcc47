"""The log, on every driver."""

from __future__ import annotations

import asyncio
import random

import pytest
from limpet import NotFoundError
from limpet.driver import Driver, Range, key, name, text
from limpet.structures import Log, LogCache, collect_garbage

BASE = key(name("logs"), text("a"))


async def filled(driver: Driver, count: int) -> Log:
    log = Log(driver, BASE, LogCache())
    await log.create()
    if count:
        await log.append(*(str(n) for n in range(count)))
    return log


async def test_appends_are_numbered_in_order(driver: Driver) -> None:
    log = await filled(driver, 0)
    assert await log.append("a") == 0
    assert await log.append("b", b"c") == 1
    assert [(entry.seq, entry.value) for entry in await log.read()] == [(0, "a"), (1, "b"), (2, b"c")]
    assert await log.count() == 3
    entry = await log.get(1)
    assert entry is not None
    assert entry.value == "b"
    assert await log.get(3) is None


async def test_many_tasks_append_without_gaps_or_doubles(driver: Driver) -> None:
    log = await filled(driver, 0)
    numbers = await asyncio.gather(*(log.append(str(n)) for n in range(50)))
    assert sorted(numbers) == list(range(50))
    read = await log.read()
    assert {entry.seq: entry.value for entry in read} == {number: str(n) for n, number in enumerate(numbers)}


async def test_no_log_no_append(driver: Driver) -> None:
    log = Log(driver, BASE)
    with pytest.raises(NotFoundError):
        await log.append("x")
    assert await log.read() == []
    assert await log.last(3) == []
    assert await log.count() == 0
    assert await log.truncate(-1) == 0
    assert not await log.delete()


async def test_random_operations_match_a_list(driver: Driver) -> None:
    random.seed(7)
    log, model, following = await filled(driver, 0), dict[int, str](), 0
    for step in range(120):
        match random.choice(["append", "append", "append", "truncate", "trim", "recreate", "read"]):
            case "append":
                count = random.choice([1, 1, 3, 40])
                first = await log.append(*(f"{step}-{n}" for n in range(count)))
                assert first == following
                model |= {first + n: f"{step}-{n}" for n in range(count)}
                following += count
            case "truncate":
                after = random.randint(max(-1, following - 30), following)
                assert await log.truncate(after) == len([n for n in model if n > after])
                model = {n: value for n, value in model.items() if n <= after}
            case "trim" if step % 3 == 0:
                before = random.randint(0, following)
                assert await log.trim(before) == len([n for n in model if n < before])
                model = {n: value for n, value in model.items() if n >= before}
            case "recreate" if step % 10 == 0:
                await log.delete()
                assert await log.read() == []
                assert await log.create()
                model = {}
        other = Log(driver, BASE)
        assert {entry.seq: entry.value for entry in await other.read()} == model
        assert await other.count() == len(model)
        assert [entry.seq for entry in await log.last(7)] == sorted(model)[-7:]
        low, high = sorted((random.randint(-1, following), random.randint(0, following + 1)))
        expected = [n for n in sorted(model) if low < n < high]
        assert [entry.seq for entry in await log.read(after=low, before=high, limit=5)] == expected[:5]
        assert [e.seq for e in await log.read(after=low, before=high, limit=5, reverse=True)] == expected[::-1][:5]


async def test_a_long_truncation_hides_at_once_and_is_swept_later(driver: Driver) -> None:
    log = await filled(driver, 400)
    assert await log.truncate(9) == 390
    assert [entry.seq for entry in await log.read()] == list(range(10))
    assert await log.append("next") == 400
    assert [entry.seq for entry in await log.last(3)] == [8, 9, 400]
    assert [entry.seq for entry in await Log(driver, BASE).read(after=5)] == [6, 7, 8, 9, 400]
    assert await log.count() == 11
    assert await collect_garbage(driver) == 390
    assert await collect_garbage(driver) == 0
    assert [entry.seq for entry in await log.read()] == [*range(10), 400]
    page = await driver.scan(Range(key(BASE, name("e")), limit=100))
    assert len(page.items) == 11


async def test_a_stale_cache_never_shows_or_writes_into_a_dead_log(driver: Driver) -> None:
    mine = await filled(driver, 3)
    theirs = Log(driver, BASE, LogCache())
    await theirs.delete()
    assert await mine.read() == []
    with pytest.raises(NotFoundError):
        await mine.append("lost")
    await theirs.create()
    await theirs.append("new")
    assert await mine.append("x") == 4
    assert [entry.value for entry in await mine.read()] == ["new", "x"]
    await theirs.truncate(3)
    assert [entry.value for entry in await mine.last(5)] == ["new"]
    assert await mine.append("y") == 5


async def test_truncating_beside_appends_loses_nothing_acknowledged_afterwards(driver: Driver) -> None:
    log = await filled(driver, 20)
    await asyncio.gather(
        *(log.append(f"c{n}") for n in range(10)), log.truncate(4), *(log.append(f"d{n}") for n in range(10))
    )
    visible = [entry.seq for entry in await log.read()]
    assert visible[:5] == [0, 1, 2, 3, 4]
    assert visible[5:] == list(range(visible[5] if len(visible) > 5 else 40, 40)), "what stays is a run up to the end"
    assert await log.count() == len(visible)


async def test_unique_appends(driver: Driver) -> None:
    log = await filled(driver, 1)
    results = await asyncio.gather(*(log.append_unique("v", "id") for _ in range(6)))
    assert sorted(new for _, new in results) == [False] * 5 + [True]
    assert {seq for seq, _ in results} == {1}
    await log.truncate(0)
    assert await log.append_unique("v", "id") == (2, True)
    await log.delete()
    await log.create()
    assert await log.append_unique("v", "id") == (3, True)
