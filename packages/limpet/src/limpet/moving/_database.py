"""The databases that data moves between: opened if need be, and seen below out-of-line values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from .._errors import ConfigurationError
from ..driver import Driver, Item, Key, Put, key, name
from ..opening import MANIFEST, open_as_written
from ..stores import Persistence
from ..structures import content_driver

__all__ = ["MARKER", "Database", "get_all", "identity", "moves", "opened", "opened_stores", "put_all"]

Database: TypeAlias = str | Driver | Persistence
"""A URL, an open driver, or a database that an application opened."""

MARKER: Key = key(name("moving"), name("copy"))
"""In a target: which database is copied to it, and how far the copy has come."""

_ROOTS = (MANIFEST, "health", "keyring", "moving")
"""What belongs to the database itself, and stays where it is."""


@asynccontextmanager
async def opened(database: Database, *, new: bool = False, reading: bool = False) -> AsyncIterator[Driver]:
    """Yield the driver that shows every stored item: pointers and chunks as they are, values decrypted, keys real.

    A URL is opened through the wrappers that its manifest names, and closed afterwards.
    """
    if isinstance(database, str):
        driver = await open_as_written(database, batching=False, new=new, reading=reading, strict=False)
        try:
            yield content_driver(driver)
        finally:
            await driver.close()
        return
    driver = database.driver if isinstance(database, Persistence) else database
    if not isinstance(driver, Driver):
        raise ConfigurationError(f"{driver!r} is not a database: pass a URL, a driver, or an opened database")
    if not driver.is_open:
        raise ConfigurationError(f"this {type(driver).__name__} is not open: open it first, or pass its URL")
    yield content_driver(driver)


@asynccontextmanager
async def opened_stores(database: Database, *, new: bool = False, reading: bool = True) -> AsyncIterator[Persistence]:
    """Yield the stores of a database. A URL is opened through the wrappers that its manifest names, and closed afterwards."""
    if isinstance(database, str):
        driver = await open_as_written(database, new=new, reading=reading, strict=False)
        try:
            yield Persistence(driver)
        finally:
            await driver.close()
        return
    async with opened(database):  # checks it
        yield database if isinstance(database, Persistence) else Persistence(database)


def moves(key: Key) -> bool:
    """Return whether an item is data, and not part of the database that holds it."""
    return key.partition("!")[0] not in _ROOTS


async def identity(driver: Driver) -> str:
    """Return what tells one database from all others: the etag of its manifest."""
    (item,) = await driver.get([MANIFEST], values=False)
    if item is None:
        raise ConfigurationError("this database has no manifest: open it with create_persistence() once")
    return item.etag


async def get_all(driver: Driver, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
    """Like `driver.get`, for any number of keys; not one snapshot if there are too many."""
    most = driver.capabilities.max_keys
    found: list[Item | None] = []
    for start in range(0, len(keys), most):
        found += await driver.get(keys[start : start + most], values=values)
    return found


async def put_all(driver: Driver, puts: Sequence[Put]) -> None:
    """Store items one by one, in as few round trips as the driver needs.

    Each put is a unit of its own, because a batch that meets one of its own etags is taken for one that was applied before.
    """
    for outcome in await driver.commit([[put] for put in puts]):
        if isinstance(outcome, Exception):
            raise outcome
