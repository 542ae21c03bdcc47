"""Reading only: every read of the suite goes through it, every verb that writes is refused, nothing changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from limpet import ConfigurationError, NotFoundError, ReadOnlyError, create_persistence, create_storage
from limpet.driver import VERBS, Append, Check, Delete, Driver, Key, MemoryDriver, Outcome, Put, Range, Unit, key, name
from limpet.driver.kit import BaseDriver
from limpet.wrappers import Compressed, ReadOnly, Wrapper, compressed, read_only
from limpet_conformance import DriverConformance

A = key(name("a"))

WRITING: dict[str, Callable[[Driver], Awaitable[Any]]] = {
    "apply": lambda driver: driver.apply([Put(A, "new")]),
    "append": lambda driver: driver.append(key(A, name("n")), [Put(A, "x")], Check(A)),
    "commit": lambda driver: _only_verdict(driver, [Delete(A)]),
    "clear": lambda driver: driver.clear(""),
    "purge": lambda driver: driver.purge(),
}


class WritesBeside(Wrapper):
    """Reads through `ReadOnly`, and writes past it: so the suite can fill what it reads."""

    capabilities = MemoryDriver.capabilities

    def __init__(self, driver: Driver) -> None:
        super().__init__(ReadOnly(driver))
        self._writable = driver

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await self._writable.commit(units)

    async def clear(self, base: Key) -> int:
        return await self._writable.clear(base)

    async def purge(self) -> int:
        return await self._writable.purge()


def beside(url: str) -> Driver:
    return WritesBeside(MemoryDriver.from_url(url))


@pytest.mark.again
class TestReadsThroughReadOnly(DriverConformance):
    factory = f"{__name__}:beside"
    capabilities = MemoryDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"


async def _only_verdict(driver: Driver, unit: Unit) -> None:
    (outcome,) = await driver.commit([unit])
    assert isinstance(outcome, Exception)
    raise outcome


def test_every_verb_that_writes_is_tried() -> None:
    assert set(WRITING) - {"apply", "append"} == {verb for verb, does in VERBS.items() if does == "writes"}


@pytest.mark.parametrize("verb", WRITING)
async def test_what_writes_is_refused_and_changes_nothing(verb: str) -> None:
    async with MemoryDriver() as driver:
        await driver.apply([Put(A, "1"), Put(key(A, name("n")), "0")])
        before = list((await driver.scan(Range(""))).items)
        with pytest.raises(ReadOnlyError, match=r"without") as caught:
            await WRITING[verb](ReadOnly(driver))
        assert isinstance(caught.value, PermissionError)
        assert list((await driver.scan(Range(""))).items) == before


async def test_nothing_at_all_is_sent_for_an_append_or_a_check() -> None:
    async with MemoryDriver() as driver:
        reader = ReadOnly(driver)
        with pytest.raises(ReadOnlyError):
            await reader.apply([Check(A)])
        outcomes = await reader.commit([Append(A, (Put(A, "x"),), Check(A)), [Put(A, "x")]])
        assert [type(outcome) for outcome in outcomes] == [ReadOnlyError, ReadOnlyError]
        assert await reader.commit([]) == []


async def test_a_health_check_writes_nothing_even_where_only_a_write_could_tell_the_time() -> None:
    class Plain(MemoryDriver):
        _health = BaseDriver._health

    async with Plain() as plain, MemoryDriver() as driver:
        assert (await ReadOnly(plain).health(probe=True)).clock_ms is None
        assert (await plain.scan(Range())).items == []
        assert (await ReadOnly(driver).health()).server == "memory"


async def test_a_new_place_is_not_made() -> None:
    async with MemoryDriver() as driver:
        with pytest.raises(NotFoundError, match=r"without read_only\(\) first"):
            await create_storage(driver, wrappers=[read_only()])
        assert list((await driver.scan(Range(""))).items) == []


@pytest.mark.parametrize("others", [[], [compressed(threshold=64)]], ids=["alone", "below compressed"])
async def test_stores_read_what_others_wrote(others: list[Callable[[Driver], Driver]]) -> None:
    async with MemoryDriver() as driver:
        async with create_persistence(driver, wrappers=others) as persistence:
            await persistence.sessions.save_session({"sessionId": "s", "title": "t" * 500})
            await persistence.sessions.add_message("s", {"subtype": "user", "content": "x"})
        before = list((await driver.scan(Range(""))).items)
        async with create_persistence(driver, wrappers=[*others, read_only()]) as persistence:
            session = await persistence.sessions.find_session_by_id("s")
            assert session is not None
            assert session.model_dump()["title"] == "t" * 500
            assert len(await persistence.sessions.get_messages("s")) == 1
            with pytest.raises(ReadOnlyError):
                await persistence.sessions.add_message("s", {"subtype": "user", "content": "y"})
            with pytest.raises(ReadOnlyError):
                await persistence.purge()
        assert list((await driver.scan(Range(""))).items) == before


def test_nothing_stands_between_it_and_the_driver_that_could_write() -> None:
    with pytest.raises(ConfigurationError, match=r"Compressed\(ReadOnly\(driver\)\)"):
        ReadOnly(Compressed(MemoryDriver()))
    with pytest.raises(ConfigurationError, match="the second one"):
        ReadOnly(ReadOnly(MemoryDriver()))
