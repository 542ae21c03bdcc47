"""Reading past damage: an unreadable item does not fail its page or its batch of keys."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from .._errors import CorruptDataError
from .._json import Unreadable
from ..driver import Driver, Item, Key, Page, Range
from ..driver.kit import scan_pages

__all__ = ["get_each", "log_skipped", "scan_all_each", "scan_each"]

_logger = logging.getLogger("limpet")


async def get_each(driver: Driver, keys: Sequence[Key]) -> list[Item | None]:
    """Like `driver.get`, but unreadable items have an `Unreadable` value. If there are any, it is not one snapshot."""
    try:
        return await driver.get(keys)
    except CorruptDataError as error:
        if len(keys) == 1:
            return [await _unreadable(driver, keys[0], error)]
    half = len(keys) // 2
    return [*await get_each(driver, keys[:half]), *await get_each(driver, keys[half:])]


async def scan_each(driver: Driver, range: Range) -> Page:
    """Like `driver.scan`, but unreadable items have an `Unreadable` value, and their stored key."""
    while True:
        try:
            return await driver.scan(range)
        except CorruptDataError as error:
            if range.limit > 1:
                range = replace(range, limit=range.limit // 2)
            elif error.key is None:  # the item is unknown, so it cannot be skipped
                raise
            else:
                item = await _unreadable(driver, error.key, error)
                return Page([] if item is None else [item], error.key)


async def scan_all_each(driver: Driver, base: Key, *, values: bool = True) -> AsyncIterator[Item]:
    """Yield every item below `base`, page by page. Unreadable items have an `Unreadable` value."""
    async for page in scan_pages(partial(scan_each, driver), Range(base, limit=1000, values=values)):
        for item in page.items:
            yield item


async def _unreadable(driver: Driver, key: Key, error: CorruptDataError) -> Item | None:
    """Return the item without its unreadable value. Its etag is right, so it can be deleted or replaced."""
    (item,) = await driver.get([key], values=False)
    return None if item is None else replace(item, value=Unreadable(error))


def log_skipped(error: CorruptDataError) -> None:
    """Log that upkeep skipped something that it could not read."""
    _logger.warning("skipped, since it cannot be read: %s", error)
