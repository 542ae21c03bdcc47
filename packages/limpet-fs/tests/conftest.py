"""A place that a killed process left, and everything that a program does with it: for the hostile folders."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from limpet import create_persistence
from limpet._errors import LimpetError
from limpet.driver import Delete, Put, Range
from limpet.wrappers import read_only
from limpet_drivers.fs import FsDriver

KEYS = ["kv!@a", "kv!@b", "kv!@deep!@c", "kv!@new", "storage!@b", "zz"]

Use: TypeAlias = Callable[[Path, bool], Callable[[], Awaitable[object]]]
"""`use(base, wrapped)` opens the place, through `read_only()` or not, and gives what it read."""


@pytest.fixture(scope="module")
def use() -> Use:
    return lambda base, wrapped: lambda: _use(base, wrapped=wrapped)


async def _use(base: Path, *, wrapped: bool) -> list[object]:
    """Everything that a program does with a place; gives what it read."""
    if wrapped:
        async with create_persistence(f"fs://{base}", wrappers=[read_only()]) as persistence:
            return [dict(await persistence.kv(object, "n").list())]
    driver = FsDriver(base, durability="process", lock_timeout=1)
    found: list[object] = []
    await driver.open()
    try:
        for step in (
            lambda: driver.get(KEYS),
            lambda: driver.scan(Range(limit=1000)),
            lambda: driver.apply([Put("kv!@new", "[1]"), Put("kv!@a", "text"), Put("kv!@deep!@d", "1")]),
            lambda: driver.apply([Delete("kv!@b"), Delete("kv!@deep!@c")]),
            lambda: driver.scan(Range("kv")),
            driver.purge,
            driver.health,
        ):
            with suppress(LimpetError):
                found.append(await step())
    finally:
        with suppress(LimpetError):
            await driver.close()
    return found


async def _place(base: Path) -> None:
    async with FsDriver(base, durability="process") as driver:
        await driver.apply([Put("kv!@a", "1"), Put("kv!@b", "two\nlines"), Put("kv!@deep!@c", b"\0")])
    driver = FsDriver(base, durability="process")
    await driver.open()
    await driver.apply([Put("kv!@a", '{"n":2}'), Delete("kv!@b")])
    driver._thread.stop()  # as a killed process leaves it
    driver._store.close()


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place as it was left by a process that was killed."""
    base = tmp_path_factory.mktemp("pattern") / "base"
    asyncio.run(_place(base))
    return base
