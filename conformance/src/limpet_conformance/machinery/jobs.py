"""What the suite's other processes do. Each job prints one JSON value per line."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from json import dumps
from typing import Any

from limpet import ConflictError, ForkedError
from limpet.driver import Check, Delete, Driver, If, Key, Put, Range, Write, key, number

__all__ = ["append", "forget", "fork", "increment", "keep_writing", "take_turns", "transfer", "transfer_and_take_turns"]


def _say(value: Any) -> None:
    print(dumps(value), flush=True)


async def increment(driver: Driver, at: Key, times: int) -> None:
    """Add one, repeatedly, under the etag that was read; print how many times it succeeded."""
    (item,) = await driver.get([at])
    for _ in range(times):
        while True:
            value = 0 if item is None else int(str(item.value))
            put = Put(at, str(value + 1), If.ABSENT if item is None else item.etag)
            try:
                await driver.apply([put])
            except ConflictError as conflict:
                item = conflict.items[at] if at in conflict.items else (await driver.get([at]))[0]
                await asyncio.sleep(0)
            else:
                break
        (item,) = await driver.get([at])
    _say(times)


async def append(driver: Driver, log: Key, entries: Key, head: Key, etag: str, values: Sequence[str]) -> None:
    """Append values one by one; print each number with its value."""
    for value in values:
        first = await driver.append(log, [Put(entries, value)], Check(head, etag))  # type: ignore[arg-type]
        _say([first, value])


async def take_turns(driver: Driver, mine: Key, other: Key, rounds: int) -> None:
    """In every round, delete `other` only if `mine` exists; print the rounds in which that worked."""
    done = []
    for turn in range(rounds):
        batch: list[Write] = [Check(key(mine, number(turn))), Delete(key(other, number(turn)), If.PRESENT)]
        try:
            await driver.apply(batch)
        except ConflictError:
            continue
        done.append(turn)
    _say(done)


async def transfer(driver: Driver, accounts: Sequence[Key], times: int, step: int) -> None:
    """Move one unit around a circle of accounts, under both etags."""
    at = step
    for _ in range(times):
        source, target = accounts[at % len(accounts)], accounts[(at + step) % len(accounts)]
        while True:
            left, right = await driver.get([source, target])
            assert left is not None
            assert right is not None
            batch = [
                Put(source, str(int(str(left.value)) - 1), left.etag),
                Put(target, str(int(str(right.value)) + 1), right.etag),
            ]
            try:
                await driver.apply(batch)
            except ConflictError:
                await asyncio.sleep(0.001)
            else:
                break
        at += step


async def transfer_and_take_turns(
    driver: Driver, accounts: Sequence[Key], times: int, step: int, mine: Key, other: Key, rounds: int
) -> None:
    """Both at once on one driver; print what `take_turns` prints."""
    transferring = asyncio.create_task(transfer(driver, accounts, times, step))
    await take_turns(driver, mine, other, rounds)
    await transferring


async def keep_writing(driver: Driver, base: Key, size: int, batches: bool) -> None:
    """Write pairs until this process is killed; print each number once it is acknowledged."""
    at = 0
    while True:
        value = f"{at} " + "x" * (size if at % 5 == 0 else 10)
        halves = [Put(key(base, number(at)), value), Put(key(base, number(at), number(0)), value)]
        halves += [Put(key(base, number(10**9)), str(at))]
        if batches:
            writes: list[Write] = [*halves]
            if at >= 7:
                writes += [Delete(key(base, number(at - 7), number(0))), Delete(key(base, number(at - 7)))]
            await driver.apply(writes)
        else:
            for half in halves:
                await driver.apply([half])
        _say(at)
        at += 1


async def forget(driver: Driver) -> None:
    """Open a driver, write, and exit without closing it."""
    await driver.open()
    print("ready", flush=True)
    await driver.apply([Put(key("forgotten"), "x")])
    _say("written")


async def fork(driver: Driver, base: Key, times: int) -> None:
    """Fork a child that tries every verb and closes, and keep writing. Print what the child got, then each number."""
    await driver.apply([Put(key(base, number(0)), "0")])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # if a call hangs, nothing is printed
        met = asyncio.run(_met_after_fork(driver, base))  # the parent's loop only runs in the parent
        os.write(writing, dumps(met).encode())
        os._exit(0)
    os.close(writing)
    for at in range(1, times):
        await driver.apply([Put(key(base, number(at)), str(at))])
    await asyncio.to_thread(os.waitpid, child, 0)
    print((os.read(reading, 65536) or b"[]").decode(), flush=True)
    os.close(reading)
    for at in range(times, 2 * times):
        await driver.apply([Put(key(base, number(at)), str(at))])
    _say(list(range(2 * times)))


async def _met_after_fork(driver: Driver, base: Key) -> list[list[str]]:
    """Return the name of each call with what it raised."""
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: driver.get([key(base, number(0))]),
        "apply": lambda: driver.apply([Put(key(base, number(10**9)), "the child's")]),
        "scan": lambda: driver.scan(Range(base)),
        "clear": lambda: driver.clear(base),
        "purge": driver.purge,
        "health": driver.health,
        "close": driver.close,
    }
    met = []
    for name, call in calls.items():
        try:
            await call()
        except ForkedError:
            met.append([name, "ForkedError"])
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
            met.append([name, repr(error)])
        else:
            met.append([name, "nothing"])
    return met
