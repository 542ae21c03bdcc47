"""Default implementations, built on the three verbs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from random import uniform
from typing import TYPE_CHECKING

from ..._errors import ConflictError, CorruptDataError, UnavailableError
from .._keys import entry_key, key, name, text
from .._types import KEEP, Append, Check, If, Item, Key, Page, Put, Range, new_etag
from ._evaluate import counter_value

if TYPE_CHECKING:
    from .._driver import Driver

__all__ = ["append_by_compare_and_set", "backoff", "probe_clock", "scan_all", "scan_pages"]

_PAGE = 500


async def backoff(attempt: int) -> None:
    """Wait for a random time that grows with each lost race, up to 50 ms, so that rivals stop colliding."""
    await asyncio.sleep(uniform(0, min(0.05, 0.001 * 2 ** min(attempt, 6))))


async def append_by_compare_and_set(driver: Driver, unit: Append) -> int:
    """Append by compare-and-set on the counter until it succeeds; return the first number."""
    attempt = 0
    (counter,) = await driver.get([unit.log])
    while True:
        first = 0 if counter is None else counter_value(counter.value)
        if first is None:
            raise CorruptDataError(f"the item at {unit.log!r} should be the next number of a log, but is not")
        following = str(first + len(unit.puts))
        cond = If.ABSENT if counter is None else counter.etag
        batch: list[Put | Check] = [unit.check, Put(unit.log, following, cond, KEEP)]
        batch += [
            Put(entry_key(put.key, n), put.value, None, put.ttl_ms, put.etag) for n, put in enumerate(unit.puts, first)
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


async def scan_all(driver: Driver, base: Key, *, values: bool = True) -> AsyncGenerator[Item, None]:
    """Iterate over every item below `base`, page by page, in constant memory."""
    async for page in scan_pages(driver.scan, Range(base, values=values, limit=_PAGE)):
        for item in page.items:
            yield item


async def scan_pages(scan: Callable[[Range], Awaitable[Page]], range: Range) -> AsyncGenerator[Page, None]:
    """Iterate over the pages of a range. Pages can be short or empty. `scan` is a driver's method, or one like it."""
    rest: Range | None = range
    while rest is not None:
        page = await scan(rest)
        yield page
        rest = rest.beyond(page)


async def probe_clock(driver: Driver) -> int:
    """Write an item that expires after a second and read it back: its write time is the backend's time."""
    probe = Put(key(name("health"), text(new_etag())), "", None, 1000)
    await driver.apply([probe])
    (item,) = await driver.get([probe.key], values=False)
    if item is None:
        raise UnavailableError(
            "an item that was written a moment ago is missing: check the backend's clock, and whether it evicts data"
        )
    return item.updated_at
