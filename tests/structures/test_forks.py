"""Forks of logs: shared until somebody changes something, and freed when nobody needs them."""

from __future__ import annotations

import asyncio
import random

import pytest
from limpet import ConflictError, NotFoundError, TooLargeError, UnsupportedError
from limpet.driver import Driver, key, name, text
from limpet.driver.kit import scan_all
from limpet.structures import Log, LogCache, collect_garbage
from limpet.structures.log import _forks as forks


def log_of(driver: Driver, id: str, cache: LogCache | None = None) -> Log:
    return Log(driver, key(name("logs"), text(id)), cache)


async def filled(driver: Driver, count: int, id: str = "a") -> Log:
    log = log_of(driver, id, LogCache())
    await log.create()
    await log.append(*(f"{id}{n}" for n in range(count)))
    return log


async def values(log: Log) -> list[str]:
    return [str(entry.value) for entry in await log.read()]


async def stored(driver: Driver) -> int:
    """How many entries lie there, whoever needs them."""
    return sum(["!e!" in item.key async for item in scan_all(driver, "logs")])


async def test_a_fork_shares_what_was_there_and_goes_on_by_itself(driver: Driver) -> None:
    log = await filled(driver, 5)
    fork = log_of(driver, "b")
    await log.fork(fork, at=2)
    assert [await log.append("x"), await fork.append("y")] == [5, 3]
    assert await values(log) == ["a0", "a1", "a2", "a3", "a4", "x"]
    assert await values(fork) == ["a0", "a1", "a2", "y"]
    assert [entry.seq for entry in await fork.read()] == [0, 1, 2, 3]
    assert [entry.value for entry in await fork.last(2)] == ["a2", "y"]
    assert (await log.count(), await fork.count()) == (6, 4)
    original, shared = await log.get(1), await fork.get(1)
    assert original == shared, "number, value, etag and time"
    assert await stored(driver) == 7, "nothing was copied"


async def test_where_a_log_can_be_forked(driver: Driver) -> None:
    log = await filled(driver, 10)
    await log.truncate(7)
    await log.append("new")
    for at in (-1, 8, 11, 99):
        with pytest.raises(NotFoundError):
            await log.fork(log_of(driver, "b"), at=at)
    await log.fork(log_of(driver, "b"))
    assert await values(log_of(driver, "b")) == await values(log)
    with pytest.raises(ConflictError):
        await log.fork(log_of(driver, "b"))
    with pytest.raises(NotFoundError):
        await log_of(driver, "no").fork(log_of(driver, "c"))
    empty = log_of(driver, "empty")
    await empty.create()
    await empty.fork(log_of(driver, "d"))
    assert await log_of(driver, "d").append("first") == 0


async def test_a_fork_outlives_its_parent_and_frees_it_in_the_end(driver: Driver) -> None:
    log = await filled(driver, 6)
    fork, second = log_of(driver, "b"), log_of(driver, "c")
    await log.fork(fork, at=3)
    await fork.append("b4")
    await fork.fork(second)
    await second.append("c5")
    assert await log.delete()
    await collect_garbage(driver)
    assert await values(fork) == ["a0", "a1", "a2", "a3", "b4"]
    assert await stored(driver) == 6, "a4 and a5 are of no use to anybody"
    again = await filled(driver, 2)
    assert [entry.seq for entry in await again.read()] == [6, 7], "another log of that name"
    assert await fork.delete()
    await collect_garbage(driver)
    assert await values(second) == ["a0", "a1", "a2", "a3", "b4", "c5"]
    assert await second.delete()
    await collect_garbage(driver)
    assert await stored(driver) == 2
    assert [item async for item in scan_all(driver, "garbage")] == []
    assert [item.key async for item in scan_all(driver, "logs") if "!f!" in item.key] == []


async def test_what_the_parent_cuts_off_stays_with_the_fork(driver: Driver) -> None:
    log = await filled(driver, 8)
    fork = log_of(driver, "b")
    await log.fork(fork, at=5)
    assert await log.truncate(1) == 6
    assert await log.trim(1) == 1
    await collect_garbage(driver)
    assert await values(log) == ["a1"]
    assert await values(fork) == [f"a{n}" for n in range(6)]
    assert await fork.truncate(2) == 3, "below the point where it was forked"
    assert await fork.append("new") == 6
    assert await values(fork) == ["a0", "a1", "a2", "new"]
    assert await fork.trim(2) == 2
    assert [entry.value for entry in await fork.last(5)] == ["a2", "new"]
    await fork.delete()
    await collect_garbage(driver)
    assert await stored(driver) == 1
    assert await values(log) == ["a1"]


async def test_a_message_of_the_shared_history_is_not_added_again(driver: Driver) -> None:
    log = log_of(driver, "a", LogCache())
    await log.create()
    assert await log.append_unique("one", "id1") == (0, True)
    assert await log.append_unique("two", "id2") == (1, True)
    fork = log_of(driver, "b", LogCache())
    await log.fork(fork, at=1)
    assert await fork.append_unique("two again", "id2") == (1, False)
    await log.truncate(0)
    assert await log.append_unique("two anew", "id2") == (2, True)
    assert await fork.append_unique("two again", "id2") == (1, False)
    assert await fork.append_unique("three", "id3") == (2, True)
    assert await log.append_unique("three", "id3") == (3, True)
    await fork.truncate(0)
    assert await fork.append_unique("two of the fork", "id2") == (3, True)
    assert await fork.append_unique("two of the fork", "id2") == (3, False)


async def test_what_only_one_log_shows_may_be_replaced(driver: Driver) -> None:
    log = await filled(driver, 3)
    fork = log_of(driver, "b")
    assert (await log.replace(1, lambda entry: str(entry.value) + " again")).value == "a1 again"
    await log.fork(fork, at=1)
    for each, seq in ((log, 0), (fork, 1)):
        with pytest.raises(UnsupportedError):
            await each.replace(seq, lambda entry: "x")
    assert (await log.replace(2, lambda entry: "mine")).value == "mine"
    assert await values(fork) == ["a0", "a1 again"]
    await fork.delete()
    await collect_garbage(driver)
    assert (await log.replace(0, lambda entry: "alone")).seq == 0
    await log.fork(fork)
    assert await values(fork) == await values(log) == ["alone", "a1 again", "mine"]
    for each in (log, fork):
        await each.delete()
        await collect_garbage(driver)
    assert await stored(driver) == 0
    assert [item.key async for item in scan_all(driver, "logs") if "!f!" in item.key] == []


async def test_appends_while_it_is_forked_are_all_there(driver: Driver) -> None:
    log = await filled(driver, 3)

    async def append(n: int) -> int:
        return await log.append(str(n))

    forking = [asyncio.create_task(log.fork(log_of(driver, f"f{n}"))) for n in range(5)]
    numbers = await asyncio.gather(*(append(n) for n in range(20)))
    await asyncio.gather(*forking)
    assert sorted(numbers) == list(range(3, 23))
    whole = await values(log)
    assert len(whole) == 23
    for n in range(5):
        fork = log_of(driver, f"f{n}")
        shared = await values(fork)
        assert shared == whole[: len(shared)]
        assert await fork.append("own") == len(shared)


async def test_forks_of_forks_lie_in_no_more_logs_than_they_say(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limpet.structures.log._plans.MOST_PARTS", 5)
    log = await filled(driver, 1, "f0")
    for depth in range(1, 6):
        await log.fork(fork := log_of(driver, f"f{depth}"))
        await fork.fork(log_of(driver, f"unused{depth}"))
        await fork.append(f"f{depth}")
        log = fork
    assert await values(log) == ["f00", *(f"f{n}" for n in range(1, 6))]
    with pytest.raises(TooLargeError, match="copy"):
        await log.fork(log_of(driver, "too-deep"))
    assert await log_of(driver, "too-deep").count() == 0
    await log.trim(3)
    await log.fork(log_of(driver, "shallow"))
    assert forks.MOST_PARTS == 128


async def test_random_forks_match_lists(driver: Driver) -> None:
    random.seed(11)
    models: dict[str, dict[int, str]] = {"l0": {}}
    counters = {"l0": 0}
    await log_of(driver, "l0").create()
    for step in range(150):
        id = random.choice(list(models))
        log, model, following = log_of(driver, id), models[id], counters[id]
        match random.choice(
            ["append"] * 4 + ["fork"] * 3 + ["truncate", "trim", "remove", "remove", "delete", "collect"]
        ):
            case "append":
                count = random.choice([1, 2, 7])
                assert await log.append(*(f"{step}-{n}" for n in range(count))) == following
                model |= {following + n: f"{step}-{n}" for n in range(count)}
                counters[id] += count
            case "fork" if model and len(models) < 8:
                at = random.choice(list(model))
                new = random.choice([f"l{n}" for n in range(12) if f"l{n}" not in models])
                await log.fork(log_of(driver, new), at=at)
                models[new] = {n: value for n, value in model.items() if n <= at}
                counters[new] = max(at + 1, counters.get(new, 0))
            case "truncate":
                after = random.randint(max(-1, following - 12), following)
                assert await log.truncate(after) == len([n for n in model if n > after])
                models[id] = {n: value for n, value in model.items() if n <= after}
            case "trim":
                before = random.randint(0, following)
                assert await log.trim(before) == len([n for n in model if n < before])
                models[id] = {n: value for n, value in model.items() if n >= before}
            case "remove":
                seq = random.randint(-1, following)
                assert await log.remove(seq) == (seq in model)
                model.pop(seq, None)
            case "delete" if len(models) > 2:
                assert await log.delete()
                del models[id]
            case "collect":
                await collect_garbage(driver)
        id = random.choice(list(models))
        log, model = log_of(driver, id), models[id]
        assert {entry.seq: entry.value for entry in await log.read()} == model
        assert await log.count() == len(model)
        assert [entry.seq for entry in await log.last(4)] == sorted(model)[-4:]
        low, high = sorted((random.randint(-1, counters[id]), random.randint(0, counters[id] + 1)))
        expected = [n for n in sorted(model) if low < n < high]
        assert [entry.seq for entry in await log.read(after=low, before=high, limit=3)] == expected[:3]
        assert [e.seq for e in await log.read(after=low, before=high, limit=3, reverse=True)] == expected[::-1][:3]
    for id in models:
        assert {entry.seq: entry.value for entry in await log_of(driver, id).read()} == models[id]
        await log_of(driver, id).delete()
    await collect_garbage(driver)
    assert await stored(driver) == 0
    assert [item async for item in scan_all(driver, "garbage")] == []


async def test_nothing_that_a_fork_shows_is_ever_freed_while_others_fork_cut_delete_and_collect(driver: Driver) -> None:
    random.seed(3)
    alive = {"root"}
    await (await filled(driver, 20, "root")).truncate(15)
    collecting = True

    async def collector() -> None:
        while collecting:
            await collect_garbage(driver)
            await asyncio.sleep(0)

    async def life(task: int) -> None:
        for round in range(6):
            own = log_of(driver, f"t{task}-{round}", LogCache())
            parent = log_of(driver, random.choice(sorted(alive)))
            try:
                await parent.fork(own)
            except NotFoundError:  # deleted by its owner a moment ago
                continue
            alive.add(f"t{task}-{round}")
            shown = await values(own)
            shown += [f"t{task}-{round}"]
            await own.append(shown[-1])
            for _ in range(3):
                await asyncio.sleep(random.uniform(0, 0.005))
                assert await values(own) == shown
            if round % 2 and shown:
                seqs = [entry.seq for entry in await own.read()]
                cut = random.randrange(len(seqs))
                await own.truncate(seqs[cut])
                shown = shown[: cut + 1]
                assert await values(own) == shown
            if round % 3:
                alive.remove(f"t{task}-{round}")
                await own.delete()

    collecting_task = asyncio.create_task(collector())
    try:
        await asyncio.gather(*(life(task) for task in range(5)))
    finally:
        collecting = False
        await collecting_task
    for id in alive:
        await log_of(driver, id).delete()
    await collect_garbage(driver)
    assert await stored(driver) == 0
    assert [item.key async for item in scan_all(driver, "logs") if "!f!" in item.key] == []
