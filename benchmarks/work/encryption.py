"""What encryption adds to a call, over a wrapper that does nothing, in memory with values of 1 KB."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from limpet.driver import Check, Driver, MemoryDriver, Put, key, name, text
from limpet.wrappers import Encrypted, Wrapper

from .._measure import Comparison, Contender, compare

__all__ = ["run"]

MOST = 15.0
"""Microseconds that a call may take longer."""
VALUE = "x" * 1024
KEYS = [key(name("kv"), text("users"), text(f"user {n}")) for n in range(1000)]
HEAD, LOG, ENTRIES = (key(name("log"), name(part)) for part in ("head", "n", "e"))

_Work = Callable[[Driver, int], Awaitable[None]]


async def puts(driver: Driver, times: int) -> None:
    for n in range(times):
        await driver.apply([Put(KEYS[n % 1000], VALUE)])


async def gets(driver: Driver, times: int) -> None:
    for n in range(times):
        await driver.get([KEYS[n % 1000]])


async def appends(driver: Driver, times: int) -> None:
    head = Put(HEAD, "")
    await driver.apply([head])
    check = Check(HEAD, head.etag)
    for _ in range(times):
        await driver.append(LOG, [Put(ENTRIES, VALUE)], check)
    await driver.clear(ENTRIES)


async def batches(driver: Driver, times: int) -> None:
    for _ in range(times // 1000):
        await driver.apply([Put(at, VALUE) for at in KEYS])


async def batches_of_gets(driver: Driver, times: int) -> None:
    for _ in range(times // 1000):
        await driver.get(KEYS)


async def run(folder: Path) -> list[Comparison]:
    found = []
    async with Wrapper(MemoryDriver()) as plain, Encrypted(MemoryDriver(), key=bytes(32)) as encrypted:
        for what, work in {
            "put": puts,
            "get": gets,
            "append": appends,
            "a put in a batch of 1,000": batches,
            "a get in a batch of 1,000": batches_of_gets,
        }.items():
            found.append(await _added(what, work, encrypted, plain))
    return found


async def _added(what: str, work: _Work, encrypted: Driver, plain: Driver) -> Comparison:
    """The time that a call takes longer, beside what it may: a ratio of 1 or more is within it."""
    contenders = [
        Contender("encrypted", lambda times: work(encrypted, times)),
        Contender("a wrapper that does nothing", lambda times: work(plain, times)),
    ]
    found = await compare(what, contenders, times=3000)
    (ratio,) = found.ratios.values()
    added = 1e6 / found.rates["encrypted"] * (1 - ratio)
    title = f"encryption: µs that it adds to {what}, 1 KB in memory"
    return Comparison(title, "µs", {"limpet": added, "at most": MOST}, {"at most": MOST / added}, {"at most": 1.0})
