"""Moving a place on to a newer key while it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from limpet import ConfigurationError, ConflictError, CorruptDataError, WrongKeyError, create_persistence
from limpet.driver import Check, Driver, Item, Key, MemoryDriver, Outcome, Page, Put, Unit, key, name, text
from limpet.driver.kit import scan_all
from limpet.structures import Lease, Log
from limpet.wrappers import Encrypted, Rotation, encrypted, rotate

OLD, NEW, NEWEST = (bytes([first]) * 32 for first in range(3))
KV = name("kv")
HOUR = 60 * 60 * 1000


@pytest.fixture
async def inner() -> AsyncIterator[MemoryDriver]:
    async with MemoryDriver() as driver:
        yield driver


async def opened(inner: Driver, key: bytes, *old: bytes) -> Encrypted:
    driver = Encrypted(inner, key=key, old_keys=old)
    await driver.open()
    return driver


async def items(driver: Driver) -> dict[Key, Item]:
    return {item.key: item async for item in scan_all(driver, "")}


def generations(found: dict[Key, Item]) -> set[int]:
    """The numbers of the keys that values are sealed under."""
    return {int.from_bytes(item.value[1:3]) for item in found.values() if isinstance(item.value, bytes)}


async def test_every_value_is_sealed_anew_and_stays_where_it_is(inner: MemoryDriver) -> None:
    before = await opened(inner, OLD)
    puts = [Put(key(KV, text(str(at))), f"value {at}", None, 10 * HOUR if at % 3 else None) for at in range(600)]
    await before.apply(puts)
    log = Log(before, key(name("messages"), text("s")))
    await log.create()
    await log.append(*map(str, range(20)))
    was = await items(inner)
    steps: list[Rotation] = []
    new = await opened(inner, NEW, OLD)
    done = await rotate(new, progress=steps.append)
    assert done.sealed == 600 + 20 + 2, "documents, entries, and the head and the counter of the log"
    assert [step.examined for step in steps] == sorted({step.examined for step in steps})
    assert (len(steps) >= 3, steps[-1]) == (True, done)
    now = await items(inner)
    assert list(now) == list(was)
    assert generations(was) == {1}
    assert generations(now) == {2}
    changed = [at for at in now if now[at].etag != was[at].etag]
    assert changed == list(now), "the ring too"
    only_new = await opened(inner, NEW)
    for put in puts:
        (item,) = await only_new.get([put.key])
        assert item is not None
        assert item.value == put.value
        assert (item.ttl_ms is None) == (put.ttl_ms is None)
        assert item.ttl_ms is None or 9 * HOUR < item.ttl_ms <= 10 * HOUR
    again = Log(only_new, log.base)
    assert [entry.value for entry in await again.read()] == list(map(str, range(20)))
    assert await again.append("more") == 20
    with pytest.raises(WrongKeyError):
        await opened(inner, OLD)
    assert (await rotate(only_new)).sealed == 0


async def test_it_finds_the_encryption_in_what_an_application_has_open(inner: MemoryDriver) -> None:
    wrappers = {which: encrypted(key=key) for which, key in (("old", OLD), ("new", NEW))}
    async with create_persistence(inner, wrappers=[wrappers["old"]]) as persistence:
        await persistence.sessions.save_session({"sessionId": "s"})
        await persistence.sessions.add_message("s", {"subtype": "user", "content": "hello"})
    async with create_persistence(inner, wrappers=[encrypted(key=NEW, old_keys=[OLD])]) as persistence:
        assert (await rotate(persistence.driver)).sealed > 3
    async with create_persistence(inner, wrappers=[wrappers["new"]]) as persistence:
        assert await persistence.sessions.count_messages("s") == 1
    with pytest.raises(ConfigurationError, match="no encryption"):
        await rotate(inner)


class Yielding(MemoryDriver):
    """Lets others in before each call, as a backend at the other end of a wire does."""

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        await asyncio.sleep(0)
        return await super()._commit(units)

    async def _list(self, *args: Any) -> Page:
        await asyncio.sleep(0)
        return await super()._list(*args)


async def test_readers_and_writers_go_on() -> None:
    """Everybody knows both keys; no increment, no message and no lease is lost while all of it is sealed anew."""
    async with Yielding() as inner:
        drivers = [await opened(inner, OLD, NEW) for _ in range(3)]
        counters = [key(KV, text(f"counter {at}")) for at in range(5)]
        await drivers[0].apply([Put(at, "0") for at in counters])
        await drivers[0].apply([Put(key(KV, text(f"ballast {at}")), "x") for at in range(2000)])
        log, at_lease = key(name("messages"), text("s")), key(name("leases"), text("l"))
        await Log(drivers[0], log).create()
        handle = await Lease(drivers[0], at_lease).acquire(ttl=60)
        written = 0
        ended = False

        async def write(driver: Driver) -> None:
            nonlocal written
            mine = Log(driver, log)
            while not ended:
                at = counters[written % len(counters)]
                (item,) = await driver.get([at])
                assert item is not None
                try:
                    await driver.apply([Put(at, str(int(str(item.value)) + 1), item.etag)])
                except ConflictError:
                    continue
                written += 1
                await mine.append("x")
                await driver.apply([handle.check, Put(key(KV, text("protected")), "x")])

        writers = [asyncio.create_task(write(driver)) for driver in drivers]
        await asyncio.sleep(0.02)
        began = written
        done = await rotate(await opened(inner, NEW, OLD))
        assert done.sealed > 1900
        assert written > began > 0, "they wrote before and meanwhile"
        ended = True
        await asyncio.gather(*writers)
        only_new = await opened(inner, NEW)
        assert sum(int(str(item.value)) for item in await only_new.get(counters) if item) == written
        assert len(await Log(only_new, log).read()) == written
        await Lease(only_new, at_lease).renew(handle)
        await only_new.apply([handle.check])


async def test_who_was_cut_off_is_gone_on_with(inner: MemoryDriver) -> None:
    old = await opened(inner, OLD)
    await old.apply([Put(key(KV, text(str(at))), str(at)) for at in range(1000)])

    def die(step: Rotation) -> None:
        if step.examined > 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotate(await opened(inner, NEW, OLD), progress=die)
    assert generations(await items(inner)) == {1, 2}
    assert len(await items(await opened(inner, NEW, OLD))) == 1000
    rest = await rotate(await opened(inner, NEW, OLD))
    assert rest.examined < 800, "what the first run had done was not read again"
    assert generations(await items(inner)) == {2}
    assert len(await items(await opened(inner, NEW))) == 1000
    assert not [at for at in await items(inner) if at.startswith("keyring!")], "no trace is left"


@pytest.mark.parametrize("mark", ["", "{}", "[", '{"generation":9,"after":"kv"}', '{"generation":2,"after":7}'])
async def test_a_mark_that_says_nothing_is_no_mark(inner: MemoryDriver, mark: str) -> None:
    await (await opened(inner, OLD)).apply([Put(key(KV, text("a")), "x")])
    await inner.apply([Put(key("keyring", name("rotation")), mark)])
    assert (await rotate(await opened(inner, NEW, OLD))).sealed == 1


async def test_a_newer_key_that_comes_meanwhile_is_the_one(inner: MemoryDriver) -> None:
    await (await opened(inner, OLD)).apply([Put(key(KV, text(str(at))), "x") for at in range(300)])

    started = await opened(inner, NEW, OLD, NEWEST)
    scan, others = inner.scan, [1]

    async def interrupted(*args: Any, **kwargs: Any) -> Page:
        if others:
            others.clear()
            await opened(inner, NEWEST, NEW, OLD)
        return await scan(*args, **kwargs)

    inner.scan = interrupted  # type: ignore[method-assign]
    await rotate(started)
    assert generations(await items(inner)) == {3}
    assert len(await items(await opened(inner, NEWEST))) == 300
    for key_ in (OLD, NEW):
        with pytest.raises(WrongKeyError, match="older"):
            await opened(inner, key_)


async def test_what_a_late_writer_sealed_is_read_and_sealed_anew_next_time(inner: MemoryDriver) -> None:
    late = await opened(inner, OLD)
    await rotate(await opened(inner, NEW, OLD))
    at = key(KV, text("late"))
    await late.apply([Put(at, "x")])
    only_new = await opened(inner, NEW)
    assert (await items(only_new))[at].value == "x"
    assert (await rotate(only_new)).sealed == 1
    assert generations(await items(inner)) == {2}


async def test_locks_and_what_ends_soon_are_left(inner: MemoryDriver) -> None:
    old = await opened(inner, OLD)
    lease = Lease(old, key(name("leases"), text("l")))
    handle = await lease.acquire(ttl=60)
    await old.apply([Put(key(KV, text("soon")), "x", None, HOUR - 1), Put(key(KV, text("later")), "x", None, 2 * HOUR)])
    assert (await rotate(await opened(inner, NEW, OLD))).sealed == 1
    new = await opened(inner, NEW)
    await new.apply([handle.check, Check(key(KV, text("soon")))])
    await Lease(new, lease.base).renew(handle)


async def test_what_cannot_be_opened_keeps_the_old_key_on_the_ring(inner: MemoryDriver) -> None:
    old = await opened(inner, OLD)
    at = key(KV, text("damaged"))
    await old.apply([Put(at, "x"), Put(key(KV, text("whole")), "x")])
    (item,) = await inner.get([old.stored_key(at)])
    assert item is not None
    assert isinstance(item.value, bytes)
    await inner.apply([Put(item.key, item.value[:-1])])
    new = await opened(inner, NEW, OLD)
    with pytest.raises(CorruptDataError, match="kv!"):
        await rotate(new)
    assert new.ring.locks == 2
    await new.apply([Put(at, "mended")])
    await rotate(new)
    assert new.ring.locks == 1
    assert len(await items(await opened(inner, NEW))) == 2


async def test_the_wrong_old_key_moves_nothing(inner: MemoryDriver) -> None:
    await (await opened(inner, OLD)).apply([Put(key(KV, text("a")), "x")])
    before = await items(inner)
    with pytest.raises(WrongKeyError):
        await opened(inner, NEW, NEWEST)
    assert await items(inner) == before


async def test_nobody_is_told_that_an_older_key_is_the_new_one(inner: MemoryDriver) -> None:
    await (await opened(inner, OLD)).apply([Put(key(KV, text("a")), "x")])
    begun = await opened(inner, NEW, OLD)
    with pytest.raises(WrongKeyError, match="swap the two keys"):
        await rotate(await opened(inner, OLD, NEW))
    assert begun.ring.locks == 2
    await rotate(begun)
    before = await items(inner)
    with pytest.raises(WrongKeyError, match="a database cannot go back"):
        await rotate(await opened(inner, OLD, NEW))
    assert await items(inner) == before
