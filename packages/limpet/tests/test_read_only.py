"""Reading only: every read of the suite goes through it, every verb that writes is refused, nothing changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any

import pytest
from limpet import ConfigurationError, NotFoundError, ReadOnlyError, create_persistence, create_storage
from limpet.driver import Append, Batch, Check, Delete, Driver, Key, MemoryDriver, Put, Verdict, Work, key, name
from limpet.wrappers import Compressed, ReadOnly, Wrapper, compressed, read_only
from limpet_conformance import DriverConformance

A = key(name("a"))

WRITING: dict[str, Callable[[Driver], Awaitable[Any]]] = {
    "apply": lambda driver: driver.apply([Put(A, "new")]),
    "append": lambda driver: driver.append(key(A, name("n")), [Put(A, "x")], Check(A)),
    "apply_many": lambda driver: _only_verdict(driver, [Delete(A)]),
    "clear": lambda driver: driver.clear(""),
    "purge": lambda driver: driver.purge(),
}
READING = {"open", "close", "get", "scan", "health"}


class WritesBeside(Wrapper):
    """Reads through `ReadOnly`, and writes past it: so the suite can fill what it reads."""

    capabilities = MemoryDriver.capabilities

    def __init__(self, driver: Driver) -> None:
        super().__init__(ReadOnly(driver))
        self._writable = driver

    async def apply(self, batch: Batch) -> None:
        await self._writable.apply(batch)

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        return await self._writable.apply_many(work)

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        return await self._writable.append(log, puts, check)

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


async def _only_verdict(driver: Driver, unit: Work) -> None:
    (verdict,) = await driver.apply_many([unit])
    assert isinstance(verdict, Exception)
    raise verdict


def test_every_verb_reads_or_writes() -> None:
    verbs = {verb for verb, value in vars(Driver).items() if iscoroutinefunction(value) and not verb.startswith("_")}
    assert verbs == READING | set(WRITING)


@pytest.mark.parametrize("verb", WRITING)
async def test_what_writes_is_refused_and_changes_nothing(verb: str) -> None:
    async with MemoryDriver() as driver:
        await driver.apply([Put(A, "1"), Put(key(A, name("n")), "0")])
        before = list((await driver.scan("")).items)
        with pytest.raises(ReadOnlyError, match=r"without") as caught:
            await WRITING[verb](ReadOnly(driver))
        assert isinstance(caught.value, PermissionError)
        assert list((await driver.scan("")).items) == before


async def test_nothing_at_all_is_sent_for_an_append_or_a_check() -> None:
    async with MemoryDriver() as driver:
        reader = ReadOnly(driver)
        with pytest.raises(ReadOnlyError):
            await reader.apply([Check(A)])
        verdicts = await reader.apply_many([Append(A, (Put(A, "x"),), Check(A)), [Put(A, "x")]])
        assert [type(verdict) for verdict in verdicts] == [ReadOnlyError, ReadOnlyError]
        assert await reader.apply_many([]) == []


async def test_a_health_check_that_writes_is_refused() -> None:
    class Plain(MemoryDriver):
        health = Driver.health

    async with Plain() as plain, MemoryDriver() as driver:
        await plain.health()
        with pytest.raises(ReadOnlyError):
            await ReadOnly(plain).health()
        assert (await ReadOnly(driver).health()).server == "memory"


async def test_a_new_place_is_not_made() -> None:
    async with MemoryDriver() as driver:
        with pytest.raises(NotFoundError, match=r"without read_only\(\) first"):
            await create_storage(driver, wrappers=[read_only()])
        assert list((await driver.scan("")).items) == []


@pytest.mark.parametrize("others", [[], [compressed(threshold=64)]], ids=["alone", "below compressed"])
async def test_stores_read_what_others_wrote(others: list[Callable[[Driver], Driver]]) -> None:
    async with MemoryDriver() as driver:
        async with create_persistence(driver, wrappers=others) as persistence:
            await persistence.sessions.save_session({"sessionId": "s", "title": "t" * 500})
            await persistence.sessions.add_message("s", {"subtype": "user", "content": "x"})
        before = list((await driver.scan("")).items)
        async with create_persistence(driver, wrappers=[*others, read_only()]) as persistence:
            session = await persistence.sessions.find_session_by_id("s")
            assert session is not None
            assert session.model_dump()["title"] == "t" * 500
            assert len(await persistence.sessions.get_messages("s")) == 1
            with pytest.raises(ReadOnlyError):
                await persistence.sessions.add_message("s", {"subtype": "user", "content": "y"})
            with pytest.raises(ReadOnlyError):
                await persistence.purge()
        assert list((await driver.scan("")).items) == before


def test_nothing_stands_between_it_and_the_driver_that_could_write() -> None:
    with pytest.raises(ConfigurationError, match=r"Compressed\(ReadOnly\(driver\)\)"):
        ReadOnly(Compressed(MemoryDriver()))
    with pytest.raises(ConfigurationError, match="a second one"):
        ReadOnly(ReadOnly(MemoryDriver()))
