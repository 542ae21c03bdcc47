"""A server that comes back empty under an open encrypted place: nothing is acknowledged that nobody can read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from limpet import (
    ConflictError,
    OutcomeUnknownError,
    UnavailableError,
    WrongKeyError,
    WrongStackError,
    create_persistence,
    create_storage,
)
from limpet.driver import Append, Check, If, Item, Key, MemoryDriver, Put, Range, key, name, text
from limpet.opening import MANIFEST
from limpet.wrappers import Encrypted, encrypted, rotate
from limpet.wrappers._reserved import RING
from limpet.wrappers.encryption import _ring_guard
from limpet_conformance.faults import counted

OLD, NEW, OTHER = bytes(32), bytes(range(32)), bytes(range(1, 33))
A, B = key(name("kv"), text("a")), key(name("kv"), text("b"))


@pytest.fixture
async def server() -> AsyncIterator[MemoryDriver]:
    async with MemoryDriver() as driver:
        yield driver


async def opened(server: MemoryDriver, *keys: bytes) -> Encrypted:
    driver = Encrypted(server, key=keys[0], old_keys=keys[1:])
    await driver.open()
    return driver


@pytest.fixture(autouse=True)
def always_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 0.0)


async def stored(server: MemoryDriver) -> dict[Key, Item]:
    return {item.key: item for item in (await server.scan(Range("", limit=1000))).items}


@pytest.mark.parametrize("write", ["a batch", "a group", "an append"])
async def test_a_lost_ring_is_put_back_before_the_write_is_acknowledged(write: str, server: MemoryDriver) -> None:
    driver = await opened(server, NEW)
    await server.clear("")
    put = Put(A, "x")
    if write == "a batch":
        await driver.apply([put])
    elif write == "a group":
        assert (await driver.commit([[put], [Put(B, "y", If.PRESENT)]]))[0] is None
    else:
        log = key(name("log"), name("n"))
        await driver.apply([Put(B, "head")])
        await server.clear("")
        assert isinstance((await driver.commit([Append(log, (put,), Check(B))]))[0], ConflictError)
        await driver.apply([Put(B, "head")])
        assert await driver.append(log, [put], Check(B)) == 0
    again = await opened(server, NEW)
    found = [item async for item in _everything(again)]
    assert "x" in [item.value for item in found]


async def _everything(driver: Encrypted) -> AsyncIterator[Item]:
    for item in (await driver.scan(Range("", limit=1000))).items:
        yield item


async def test_a_place_that_was_emptied_stays_an_encrypted_one(server: MemoryDriver) -> None:
    async with create_storage(server, wrappers=[encrypted(key=NEW)]) as storage:
        manifest = (await stored(server))[MANIFEST]
        await server.clear("")
        await storage.set_item("a", 1)
        assert (await stored(server))[MANIFEST].value == manifest.value
    with pytest.raises(WrongStackError):
        await create_storage(server)
    async with create_storage(server, wrappers=[encrypted(key=NEW)]) as storage:
        assert await storage.get_item("a") == 1


async def test_conversations_go_on_after_the_loss(server: MemoryDriver) -> None:
    async with create_persistence(server, wrappers=[encrypted(key=NEW)]) as persistence:
        await persistence.threads.create(id="t", user_id="u", agent_name="bot")
        await persistence.threads.add_message("t", "user", "lost")
        await server.clear("")
        await persistence.threads.create(id="t", user_id="u", agent_name="bot")
        await persistence.threads.add_message("t", "user", "kept")
    async with create_persistence(server, wrappers=[encrypted(key=NEW)]) as persistence:
        assert [message.content for message in await persistence.threads.get_messages("t")] == ["kept"]


async def test_several_processes_put_one_ring_back(server: MemoryDriver) -> None:
    drivers = [await opened(server, NEW) for _ in range(5)]
    await server.clear("")
    await asyncio.gather(*(each.apply([Put(key(name("kv"), text(str(n))), str(n))]) for n, each in enumerate(drivers)))
    again = await opened(server, NEW)
    assert sorted([str(item.value) async for item in _everything(again)]) == ["0", "1", "2", "3", "4"]


async def test_who_finds_other_keys_refuses_and_goes_on_with_them(server: MemoryDriver) -> None:
    """The server came back empty, and somebody else opened it before we wrote."""
    driver = await opened(server, NEW)
    await driver.apply([Put(A, "before")])
    await server.clear("")
    second = await opened(server, NEW)
    await second.apply([Put(B, "theirs")])
    with pytest.raises(OutcomeUnknownError, match="created again"):
        await driver.apply([Put(A, "with the lost keys")])
    assert [item.value async for item in _everything(second)] == ["theirs"]  # and nothing that nobody can read
    await driver.apply([Put(A, "under theirs")])
    assert [item.value for item in await second.get([A, B]) if item] == ["under theirs", "theirs"]


async def test_who_cannot_open_the_other_keys_writes_nothing(server: MemoryDriver) -> None:
    driver = await opened(server, NEW)
    await server.clear("")
    other = await opened(server, OTHER)
    with pytest.raises(OutcomeUnknownError, match="was not encrypted with this key"):
        await driver.apply([Put(A, "x")])
    with pytest.raises(WrongKeyError):
        await driver.apply([Put(A, "x")])
    with pytest.raises(WrongKeyError):
        await driver.get([A])
    assert [item async for item in _everything(other)] == []


async def test_a_rotation_elsewhere_is_not_taken_for_a_loss(server: MemoryDriver) -> None:
    late, both = await opened(server, OLD), await opened(server, OLD, NEW)
    mover = await opened(server, NEW, OLD)
    for driver in (late, both, mover):
        await driver.apply([Put(A, "x")])
    await rotate(mover)
    await late.apply([Put(A, "late")])
    assert (await (await opened(server, NEW)).get([A]))[0].value == "late"  # type: ignore[union-attr]
    await both.apply([Put(B, "both")])
    ring = (await server.get([RING]))[0]
    assert (await (await opened(server, NEW)).get([B]))[0].value == "both"  # type: ignore[union-attr]
    assert (await server.get([RING]))[0] == ring


async def test_an_older_ring_that_came_back_is_replaced_by_the_newer_one(server: MemoryDriver) -> None:
    late = await opened(server, OLD)
    before = (await server.get([RING]))[0]
    assert before is not None
    mover = await opened(server, NEW, OLD)
    await rotate(mover)
    await server.clear("")
    await late.apply([Put(A, "late")])  # puts back the ring that it knows
    assert (await server.get([RING]))[0].value == before.value  # type: ignore[union-attr]
    await mover.apply([Put(B, "moved on")])
    again = await opened(server, NEW)
    assert [item.value for item in await again.get([A, B]) if item] == ["late", "moved on"]


async def test_a_check_that_fails_does_not_say_that_nothing_was_written(
    server: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await opened(server, NEW)

    async def unavailable(*_: object, **__: object) -> None:
        raise UnavailableError("the network is down")

    monkeypatch.setattr(server, "get", unavailable)
    with pytest.raises(OutcomeUnknownError, match="the network is down"):
        await driver.apply([Put(A, "x")])
    assert [type(outcome) for outcome in await driver.commit([[Put(A, "x")], [Put(B, "x")]])] == [
        OutcomeUnknownError
    ] * 2


async def test_one_proof_does_for_a_while(server: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 60.0)
    driver = await opened(server, NEW)
    with counted(server) as counts:
        for n in range(50):
            await driver.apply([Put(A, str(n))])
    assert (counts.commits, counts.fetches) == (50, 1)
    await driver.close()


async def test_writes_that_leaned_on_a_proof_are_proved_when_it_ends(
    server: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 0.1)
    driver = await opened(server, NEW)
    await driver.apply([Put(A, "proved")])
    await server.clear("")
    await driver.apply([Put(A, "leaned on it")])
    assert (await server.get([RING])) == [None]
    assert driver._proving is not None
    await asyncio.wait_for(driver._proving, 10)
    assert [item.value for item in await (await opened(server, NEW)).get([A]) if item] == ["leaned on it"]


async def test_closing_proves_what_leaned_on_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 60.0)
    async with MemoryDriver() as server:
        async with create_storage(server, wrappers=[encrypted(key=NEW)]) as storage:
            await storage.set_item("a", 1)
            await server.clear("")
            await storage.set_item("a", 2)
        async with create_storage(server, wrappers=[encrypted(key=NEW)]) as storage:
            assert await storage.get_item("a") == 2


async def test_a_write_over_a_new_connection_leans_on_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that restarted is reached over another connection: the process may die the moment after the write."""

    class Restarting(MemoryDriver):
        made = 1

        @property
        def connections_made(self) -> int:
            return self.made

    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 60.0)
    async with Restarting() as server:
        driver = await opened(server, NEW)
        await driver.apply([Put(A, "before")])
        with counted(server) as counts:
            await driver.apply([Put(A, "still before")])
        assert counts.fetches == 0
        await server.clear("")
        server.made += 1
        await driver.apply([Put(A, "after")])
        assert [item.value for item in await (await opened(server, NEW)).get([A]) if item] == ["after"]
        with counted(server) as counts:
            await driver.apply([Put(A, "and so on")])
        assert counts.fetches == 0
        await driver.close()
