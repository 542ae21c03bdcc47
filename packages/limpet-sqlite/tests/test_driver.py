"""What a driver promises after it was opened, and that it is the same from a URL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from limpet import InvalidKeyError, UnsupportedError
from limpet.driver import Put
from limpet_drivers.sqlite import SqliteDriver


@pytest.mark.parametrize(
    ("options", "durable", "shared"),
    [("", "disk", True), ("?durability=relaxed", "process", True), (None, "no", False)],
    ids=["disk", "relaxed", "memory"],
)
async def test_capabilities_are_exact_after_opening(
    tmp_path: Path, options: str | None, durable: str, shared: bool
) -> None:
    url = "sqlite://" if options is None else f"sqlite:///{(tmp_path / 'agent.db').as_posix()}{options}"
    driver = SqliteDriver.from_url(url)
    assert driver.capabilities == SqliteDriver.capabilities
    async with driver:
        assert driver.capabilities == replace(SqliteDriver.capabilities, durable=durable, shared=shared)  # type: ignore[arg-type]
    assert SqliteDriver.capabilities.durable == "disk"


async def test_two_databases_in_memory_share_nothing() -> None:
    async with SqliteDriver(":memory:") as one, SqliteDriver(":memory:") as two:
        await one.apply([Put("kv!@a", "v")])
        assert await two.get(["kv!@a"]) == [None]


async def test_the_largest_of_everything(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        limits = driver.capabilities
        await driver.apply([Put("kv!@large", bytes(limits.max_value_bytes))])
        (item,) = await driver.get(["kv!@large"])
        assert item is not None
        assert isinstance(item.value, bytes)
        assert len(item.value) == limits.max_value_bytes
        keys = [f"kv!@{n:05}" for n in range(limits.max_keys)]
        await driver.apply([Put(key, "") for key in keys])
        assert all(await driver.get(keys, values=False))


async def test_what_is_not_declared_is_refused(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        with pytest.raises(UnsupportedError):
            driver.watch("kv")
        with pytest.raises(InvalidKeyError):
            await driver.clear("no key!!")
