"""A complete rotation: afterwards nothing that an older key encrypted is accepted, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from limpet import (
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    LeaseLostError,
    OutcomeUnknownError,
    WrongKeyError,
)
from limpet.driver import Check, Delete, Driver, Etag, Item, Key, MemoryDriver, Put, key, name, text
from limpet.driver.kit import scan_all
from limpet.structures import Lease, Log
from limpet.wrappers import Encrypted, rotate
from limpet.wrappers._reserved import PROGRESS, RING
from limpet.wrappers.encryption import _ring_guard, _rotation
from limpet.wrappers.encryption._keyring import KeyRing, open_ring

OLD, NEW, NEWEST = (bytes([first]) * 32 for first in range(3))
KV = name("kv")
AT = key(KV, text("roles"), text("bob"))
HOUR = 60 * 60 * 1000


@pytest.fixture
async def inner() -> AsyncIterator[MemoryDriver]:
    async with MemoryDriver() as driver:
        yield driver


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rotation, "_NOTICED_SECONDS", 0.3)
    monkeypatch.setattr(_rotation, "_LEASE_SECONDS", 0.3)
    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 0.1)


async def opened(inner: Driver, key: bytes, *old: bytes) -> Encrypted:
    driver = Encrypted(inner, key=key, old_keys=old)
    await driver.open()
    return driver


async def items(driver: Driver) -> dict[Key, Item]:
    return {item.key: item async for item in scan_all(driver, "")}


def generations(found: dict[Key, Item]) -> set[int]:
    return {int.from_bytes(item.value[1:3]) for item in found.values() if isinstance(item.value, bytes)}


async def forge(inner: Driver, ring: KeyRing, at: Key, value: str) -> None:
    """What somebody writes who has a key and a copy of the key ring from when that key opened it."""
    put = Put(at, value)
    stored = ring.digests.stored(at)
    await inner.apply([Put(stored, ring.sealer.seal(put, stored), etag=put.etag)])


async def test_an_old_key_forges_after_a_rotation_and_not_after_a_complete_one(inner: MemoryDriver) -> None:
    old = await opened(inner, OLD)
    await old.apply([Put(AT, "guest")])
    leaked = old.ring
    await rotate(await opened(inner, NEW, OLD))
    await forge(inner, leaked, AT, "admin")
    assert (await items(await opened(inner, NEW)))[AT].value == "admin"
    await (await opened(inner, NEW)).apply([Put(AT, "guest")])
    await rotate(await opened(inner, NEWEST, NEW), reseal=True)
    newest = await opened(inner, NEWEST)
    assert (await items(newest))[AT].value == "guest"
    await forge(inner, leaked, AT, "admin")
    with pytest.raises(CorruptDataError, match="a complete rotation took away"):
        await newest.get([AT])
    with pytest.raises(CorruptDataError):
        await items(newest)
    await newest.apply([Put(AT, "guest again")])
    assert generations(await items(inner)) == {3}


async def test_nothing_is_left_under_the_old_key(inner: MemoryDriver) -> None:
    old = await opened(inner, OLD)
    await old.apply([Put(key(KV, text(str(n))), str(n), None, HOUR - 1 if n % 2 else None) for n in range(600)])
    log, lease = Log(old, key(name("messages"), text("s"))), Lease(old, key(name("leases"), text("l")))
    await log.create()
    await log.append("a", "b")
    await lease.release(await lease.acquire(ttl=60))
    before = await items(old)
    done = await rotate(await opened(inner, NEW, OLD), reseal=True)
    assert done.sealed == len(before)
    assert generations(await items(inner)) == {2}
    new = await opened(inner, NEW)
    after = await items(new)
    assert {at: item.value for at, item in after.items()} == {at: item.value for at, item in before.items()}
    assert {at: item.updated_at for at, item in after.items()} == {at: item.updated_at for at, item in before.items()}
    assert all((after[at].ttl_ms is None) == (item.ttl_ms is None) for at, item in before.items())
    assert await Log(new, log.base).append("c") == 2
    assert (await Lease(new, lease.base).acquire(ttl=1)).token == 2
    assert await rotate(new, reseal=True) == await rotate(new, reseal=True), "and nothing is left to do"
    with pytest.raises(WrongKeyError, match="older one"):
        await opened(inner, OLD)


async def test_a_free_lease_costs_no_waiting_and_a_long_one_is_lost(
    inner: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await opened(inner, OLD)
    free, long = (Lease(old, key(name("leases"), text(which))) for which in ("free", "long"))
    await free.release(await free.acquire(ttl=60))
    waited: list[float] = []
    sleep = asyncio.sleep

    async def noting(seconds: float) -> None:
        waited.append(seconds)
        await sleep(seconds)

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", noting)
        await rotate(await opened(inner, NEW, OLD), reseal=True)
    assert _rotation._LEASE_SECONDS not in waited[1:]
    both = await opened(inner, NEW, NEWEST)
    handle = await Lease(both, long.base).acquire(ttl=600)
    await rotate(await opened(inner, NEWEST, NEW), reseal=True)
    with pytest.raises(ConflictError):
        await both.apply([handle.check, Put(AT, "protected")])
    with pytest.raises(LeaseLostError):
        await Lease(both, long.base).renew(handle)


async def test_readers_and_writers_go_on_and_nothing_acknowledged_is_lost() -> None:
    class Yielding(MemoryDriver):
        async def _commit(self, units: Any) -> Any:
            await asyncio.sleep(0)
            return await super()._commit(units)

    async with Yielding() as inner:
        drivers = [await opened(inner, OLD, NEW) for _ in range(3)]
        await drivers[0].apply([Put(key(KV, text(f"ballast {at}")), "x") for at in range(2000)])
        base = key(name("messages"), text("s"))
        await Log(drivers[0], base).create()
        written: dict[Key, str] = {}
        told: dict[int, str] = {}
        ended = False

        async def write(driver: Driver, task: int) -> None:
            log, turn = Log(driver, base), 0
            while not ended:
                at, turn = key(KV, text(f"{task} {turn % 7}")), turn + 1
                await driver.apply([Put(at, str(turn))])
                written[at] = str(turn)
                told[await log.append(f"{task} {turn}")] = f"{task} {turn}"

        writers = [asyncio.create_task(write(driver, task)) for task, driver in enumerate(drivers * 2)]
        await asyncio.sleep(0.05)
        assert told
        before = len(told)
        await rotate(await opened(inner, NEW, OLD), reseal=True)
        await asyncio.sleep(0.05)
        ended = True
        await asyncio.gather(*writers)
        assert len(told) > before + 10
        assert generations(await items(inner)) == {2}
        new = await opened(inner, NEW)
        found = await items(new)
        assert {at: found[at].value for at in written} == written
        assert {entry.seq: entry.value for entry in await Log(new, base).read()} == told


@pytest.mark.parametrize("write", ["a batch", "an append"])
async def test_who_slept_through_it_seals_anew_what_it_wrote(inner: MemoryDriver, write: str) -> None:
    """It sealed under the old key before the rotation, and its batch arrives after the rotation has passed."""
    late = await opened(inner, OLD, NEW)
    log = Log(late, key(name("messages"), text("s")))
    await log.create()
    await log.append("before")
    rotator = await opened(inner, NEW, OLD)
    going, commit = asyncio.Event(), inner.commit

    async def delayed(units: Any) -> Any:
        inner.commit = commit  # type: ignore[method-assign]
        await going.wait()
        return await commit(units)

    inner.commit = delayed  # type: ignore[method-assign]
    late_call = late.apply([Put(AT, "late")]) if write == "a batch" else log.append("late")
    writing = asyncio.create_task(late_call)
    await asyncio.sleep(0.01)
    await rotate(rotator, reseal=True)
    going.set()
    await writing
    new = await opened(inner, NEW)
    if write == "a batch":
        assert (await items(new))[AT].value == "late"
    assert await log.append("after") == await log.count() - 1
    assert [entry.value for entry in await Log(new, log.base).read()][-1] == "after"
    assert generations(await items(inner)) == {2}


async def test_who_has_only_the_old_key_writes_no_more(inner: MemoryDriver) -> None:
    late = await opened(inner, OLD)
    await late.apply([Put(AT, "before")])
    rotating = asyncio.create_task(rotate(await opened(inner, NEW, OLD), reseal=True))
    await asyncio.sleep(0.15)
    with pytest.raises(OutcomeUnknownError, match="older one"):
        await late.apply([Put(key(KV, text("b")), "too late")])
    with pytest.raises(WrongKeyError):
        await late.get([AT])
    await rotating
    new = await opened(inner, NEW)
    assert (await new.get([AT]))[0].value == "before"  # type: ignore[union-attr]


async def test_a_key_ring_from_before_is_of_no_use(inner: MemoryDriver) -> None:
    old = await opened(inner, OLD)
    await old.apply([Put(AT, "guest")])
    leaked = old.ring
    rings = [(await inner.get([RING]))[0]]
    rotator = await opened(inner, NEW, OLD)
    rings.append((await inner.get([RING]))[0])
    closing = rotator.ring.closing()
    rings.append(Item(RING, closing.value, closing.etag, 0))
    await rotate(rotator, reseal=True)
    await forge(inner, leaked, AT, "admin")
    for ring in rings:
        assert ring is not None
        await inner.apply([Delete(RING)])
        await inner.apply([Put(RING, ring.value or "", etag=ring.etag)])
        with pytest.raises(WrongKeyError):
            await opened(inner, NEW)
    await rotator.apply([Put(key(KV, text("b")), "x")])  # who was open puts the right one back
    with pytest.raises(CorruptDataError):
        await (await opened(inner, NEW)).get([AT])


async def test_a_rotation_is_not_completed_under_the_same_key(inner: MemoryDriver) -> None:
    await (await opened(inner, OLD)).apply([Put(AT, "x")])
    new = await opened(inner, NEW, OLD)
    await rotate(new)
    before = await items(inner)
    with pytest.raises(ConfigurationError, match="generate another key"):
        await rotate(new, reseal=True)
    assert await items(inner) == before


async def test_what_was_begun_complete_is_finished_so(inner: MemoryDriver) -> None:
    old = await opened(inner, OLD)
    await old.apply([Put(key(KV, text(str(at))), str(at)) for at in range(1000)])
    await old.apply([Put(AT, "soon", None, HOUR - 1)])

    def die(step: _rotation.Rotation) -> None:
        if step.examined > 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotate(await opened(inner, NEW, OLD), reseal=True, progress=die)
    with pytest.raises(WrongKeyError, match="finish it before"):
        await opened(inner, NEWEST, NEW, OLD)
    await rotate(await opened(inner, NEW, OLD))
    assert generations(await items(inner)) == {2}
    new = await opened(inner, NEW)
    assert new.ring.sealer.first == 2
    assert len(await items(new)) == 1001


@pytest.mark.parametrize("what", ["salt", "first", "closing", "retired", "locks", "an earlier lock"])
async def test_every_field_of_the_key_ring_is_authenticated(inner: MemoryDriver, what: str) -> None:
    from pydantic_core import from_json, to_json

    await (await opened(inner, OLD)).apply([Put(AT, "x")])
    await rotate(await opened(inner, NEW, OLD))
    begun = await opened(inner, NEWEST, NEW)
    await begun.apply([Put(AT, "y")])
    (item,) = await inner.get([RING])
    assert item is not None
    ring = from_json(item.value or "")
    other = ring["locks"][-1]
    changed: dict[str, dict[str, object]] = {
        "salt": {"salt": "A" * 43 + "="},
        "first": {"first": 2},
        "closing": {"closing": True},
        "retired": {"retired": []},
        "locks": {"locks": [ring["locks"][0], ("A" if other[0] != "A" else "B") + other[1:]]},
        "an earlier lock": {"locks": [other, other]},
    }
    await inner.apply([Put(RING, to_json(ring | changed[what]).decode())])
    with pytest.raises(WrongKeyError):
        await opened(inner, NEWEST, NEW)
    with pytest.raises(WrongKeyError):
        await open_ring(inner, [NEW, NEWEST])


async def test_nobody_makes_a_rotation_leave_something_out(inner: MemoryDriver) -> None:
    """The mark of how far it came is encrypted, too."""
    await (await opened(inner, OLD)).apply([Put(AT, "x")])
    for etag in (None, Etag("A" * 22)):
        mark = Put(PROGRESS, '{"generation":2,"after":"zzz"}')
        await inner.apply([mark if etag is None else Put(PROGRESS, mark.value, etag=etag)])
    assert (await rotate(await opened(inner, NEW, OLD))).sealed == 1
    assert generations(await items(inner)) == {2}


async def test_the_fence_of_a_lease_survives_an_ordinary_rotation(inner: MemoryDriver) -> None:
    old = await opened(inner, OLD)
    handle = await Lease(old, key(name("leases"), text("l"))).acquire(ttl=60)
    await rotate(await opened(inner, NEW, OLD))
    new = await opened(inner, NEW)
    await new.apply([handle.check, Check(handle.check.key)][:1])
    assert generations(await items(inner)) == {1}
