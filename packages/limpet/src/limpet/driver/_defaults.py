"""The optional verbs, built from the three: correct on every driver, faster where a driver has its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from random import uniform
from typing import TYPE_CHECKING

from .._errors import ConflictError, CorruptDataError, LimpetError, UnavailableError
from ._judge import count_of
from ._keys import key, name, number, text
from ._types import KEEP, Append, Check, Delete, Health, If, Item, Key, Put, Verdict, Work, new_etag

if TYPE_CHECKING:
    from ._driver import Driver

__all__ = ["append", "backoff", "clear", "everything", "health", "verdict", "verdict_of"]


async def backoff(attempt: int) -> None:
    """Wait a random while that grows with each lost race, up to 50 ms, so that rivals stop colliding."""
    await asyncio.sleep(uniform(0, min(0.05, 0.001 * 2 ** min(attempt, 6))))


async def verdict(driver: Driver, unit: Work) -> Verdict:
    """One unit's outcome as a value."""
    if isinstance(unit, Append):
        return await verdict_of(driver.append(unit.log, unit.puts, unit.check))
    return await verdict_of(driver.apply(unit))


async def verdict_of(call: Awaitable[int | None]) -> Verdict:
    """What a call gave, or the error of ours that it raised."""
    try:
        return await call
    except LimpetError as error:
        return error


async def append(driver: Driver, unit: Append) -> int:
    """Compare-and-set on the counter until nobody else was faster."""
    attempt = 0
    (counter,) = await driver.get([unit.log])
    while True:
        first = 0 if counter is None else count_of(counter.value)
        if first is None:
            raise CorruptDataError(
                f"the item at {unit.log!r} should hold the next number of a log and holds something else"
            )
        following = str(first + len(unit.puts))
        cond = If.ABSENT if counter is None else counter.etag
        batch: list[Put | Check] = [unit.check, Put(unit.log, following, cond, KEEP)]
        batch += [
            Put(f"{put.key}!{number(n)}", put.value, None, put.ttl_ms, put.etag)
            for n, put in enumerate(unit.puts, first)
        ]
        try:
            await driver.apply(batch)
        except ConflictError as conflict:
            if unit.check.key in conflict.keys:
                raise
            attempt += 1
            await backoff(attempt)
            if unit.log in conflict.items:
                counter = conflict.items[unit.log]
            else:
                (counter,) = await driver.get([unit.log])
        else:
            return first


async def everything(driver: Driver, base: Key, *, values: bool = True) -> AsyncGenerator[Item, None]:
    """Every item below `base`, page by page, in constant memory."""
    after: Key | None = None
    while True:
        page = await driver.scan(base, after=after, values=values, limit=500)
        for item in page.items:
            yield item
        after = page.next
        if after is None:
            return


async def health(driver: Driver) -> Health:
    """Write an item that expires after a second and read it back: its time is the backend's clock."""
    probe = Put(key(name("health"), text(new_etag())), "", None, 1000)
    await driver.apply([probe])
    (item,) = await driver.get([probe.key], values=False)
    if item is None:
        raise UnavailableError(
            "what was written a moment ago is not there: look at the backend's clock, or its eviction"
        )
    return Health(type(driver).__name__, "unknown", item.updated_at)


async def clear(driver: Driver, base: Key) -> int:
    """Page through the keys and delete each page as one batch, or one by one where that is all the driver can."""
    removed = 0
    limit = 1 if driver.capabilities.atomic == "item" else min(256, driver.capabilities.max_writes)
    while True:
        page = await driver.scan(base, values=False, limit=256)
        keys = [item.key for item in page.items]
        for start in range(0, len(keys), limit):
            await driver.apply([Delete(key) for key in keys[start : start + limit]])
        removed += len(keys)
        if page.next is None:
            return removed
