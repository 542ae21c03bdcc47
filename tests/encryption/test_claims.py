"""The claims of the page on encryption, row by row: what somebody achieves who writes to the database without the key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from limpet import (
    CorruptDataError,
    LeaseLostError,
    LimpetError,
    OutcomeUnknownError,
    Persistence,
    WrongKeyError,
    WrongStackError,
    create_persistence,
)
from limpet.driver import Delete, Driver, Etag, Item, Key, MemoryDriver, Put, key, name, text
from limpet.driver.kit import scan_all
from limpet.opening import MANIFEST, driver_from_url
from limpet.records import SessionRecord, UserMessage
from limpet.structures import Lease
from limpet.wrappers import Encrypted, encrypted, rotate
from limpet.wrappers.encryption import _ring_guard, _rotation
from limpet.wrappers.encryption._keyring import KeyRing, open_ring
from pydantic_core import from_json, to_json

from ..conftest import EMBEDDED, SERVERS, STOOD_FOR, empty_place, not_on_a_stand_in

PAGE = Path(__file__).parents[2] / "docs" / "wrappers" / "encryption.md"
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SECONDS = 0.5


@dataclass
class Place:
    """An encrypted place, and what somebody writes there who has no key."""

    driver: Driver

    @asynccontextmanager
    async def opened(self, *keys: bytes) -> AsyncIterator[Persistence]:
        newest, *old = keys or (OLD,)
        async with create_persistence(self.driver, wrappers=[encrypted(key=newest, old_keys=old)]) as persistence:
            yield persistence

    async def items(self, below: str = "") -> dict[Key, Item]:
        return {item.key: item async for item in scan_all(self.driver, "") if item.key.startswith(below)}

    async def write(self, at: Key, value: str | bytes | None, etag: Etag, ttl_ms: int | None = None) -> None:
        await self.driver.apply([Delete(at)])
        await self.driver.apply([Put(at, value or "", None, ttl_ms, etag)])

    async def put(self, at: Key, item: Item) -> None:
        await self.write(at, item.value, item.etag, item.ttl_ms)

    async def entries(self, store: str) -> list[Item]:
        return [item for at, item in (await self.items(store)).items() if re.search(r"!e!\d{16}!\d{16}$", at)]

    async def role(self) -> str:
        """Write one record; return its key."""
        async with self.opened() as persistence:
            await persistence.kv(str, "roles").set("bob", "guest")
        ((at, _),) = (await self.items("kv!")).items()
        return at

    async def logs(self) -> None:
        """Write three entries to a log of each kind, and two to another conversation."""
        async with self.opened() as persistence:
            for session, count in (("s", 3), ("other", 2)):
                await persistence.sessions.save_session(SessionRecord(session_id=session))
                for n in range(count):
                    await persistence.sessions.add_message(session, UserMessage(content=f"{session} {n}"))
            async with persistence.events(prune_interval=None) as queue:
                for n in range(3):
                    await queue.publish("channel", n)
            for n in range(3):
                await persistence.work("queue").put(n)

    async def counter(self) -> Key:
        async with self.opened() as persistence:
            await persistence.sessions.save_session(SessionRecord(session_id="s"))
            await persistence.sessions.add_message("s", UserMessage(content="first"))
        ((at, _),) = [(at, item) for at, item in (await self.items("messages!")).items() if at.endswith("!n")]
        return at

    async def add(self, content: str) -> None:
        async with self.opened() as persistence:
            await persistence.sessions.add_message("s", UserMessage(content=content))

    async def messages(self, session: str = "s") -> list[Any]:
        async with self.opened() as persistence:
            return [message.model_dump()["content"] for message in await persistence.sessions.get_messages(session)]

    async def read(self) -> str | None:
        async with self.opened() as persistence:
            return await persistence.kv(str, "roles").get("bob")

    async def read_with(self, secret: bytes, who: str) -> str | None:
        async with self.opened(secret) as persistence:
            return await persistence.kv(str, "roles").get(who)

    async def is_found(self, act: Callable[[], Awaitable[Any]], error: type[LimpetError] = CorruptDataError) -> None:
        with pytest.raises(error):
            await act()


PLACES = [
    *EMBEDDED,
    *(
        pytest.param(server, marks=[pytest.mark.again, *([pytest.mark.exhaustive] if server in STOOD_FOR else [])])
        for server in SERVERS
    ),
]


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "mongodb":
        not_on_a_stand_in(request, "encrypted+mongodb")
    async with driver_from_url(empty_place(request.param, tmp_path)) as driver:
        yield Place(driver)


# Found.


async def _changed_value(place: Place) -> None:
    at = await place.role()
    item = (await place.items())[at]
    assert isinstance(item.value, bytes)
    for value in (item.value[:-1], bytes([*item.value[:-1], item.value[-1] ^ 1]), item.value + b"x", b""):
        await place.write(at, value, item.etag)
        await place.is_found(place.read)


async def _changed_etag(place: Place) -> None:
    at = await place.role()
    await place.write(at, (await place.items())[at].value, Etag("A" * 22))
    await place.is_found(place.read)


async def _moved_value(place: Place) -> None:
    at = await place.role()
    async with place.opened() as persistence:
        await persistence.kv(str, "roles").set("alice", "admin")
    ((_, alice),) = [(key, item) for key, item in (await place.items("kv!")).items() if key != at]
    await place.put(at, alice)
    await place.is_found(place.read)


async def _exchanged_entries(place: Place) -> None:
    await place.logs()

    for store in ("messages!", "events!", "work!"):

        async def read(store: str = store) -> Any:
            async with place.opened() as persistence:
                return [item async for item in scan_all(persistence.driver, store[:-1])]

        entries = await place.entries(store)
        logs: dict[str, list[Item]] = {}
        for item in entries:
            logs.setdefault(item.key[:-17], []).append(item)
        one = next(log for log in logs.values() if len(log) == 3)
        other = next((log for log in logs.values() if log is not one), None)
        ways = [[(one[0], one[1]), (one[1], one[0])], [(one[0], one[2])], [(one[2], one[0])]]
        if other is not None:
            ways.append([(one[1], other[1])])
        for way in ways:
            for there, instead in way:
                await place.put(there.key, instead)
            await place.is_found(read)
            for there, _ in way:
                await place.put(there.key, there)
        doubled = f"{one[0].key[:-16]}{3:016d}"
        await place.put(doubled, one[2])
        await place.is_found(read)
        await place.driver.apply([Delete(doubled)])
        await read()
    first, second, _ = await place.entries("work!")
    await place.put(first.key, second)
    await place.put(second.key, first)
    async with place.opened() as persistence:
        assert [job.value for job in await persistence.work("queue").claim(limit=3)] == [2]
        assert len(await persistence.work("queue").dead_letters()) == 2


async def _changed_counter(place: Place) -> None:
    at = await place.counter()
    item = (await place.items())[at]

    async def count() -> int:
        async with place.opened() as persistence:
            return await persistence.sessions.count_messages("s")

    for value in ("0", "7", b"7", bytes(80)):
        await place.write(at, value, item.etag)
        await place.is_found(count)
        await place.is_found(lambda: place.add("second"))
    await place.put(at, item)
    async with place.opened() as knows:
        await knows.sessions.add_message("s", UserMessage(content="second"))
        await place.write(at, "0", (await place.items())[at].etag)
        await knows.sessions.add_message("s", UserMessage(content="third"))
    assert await place.messages() == ["first", "second", "third"]


async def _counter_set_back(place: Place) -> None:
    at = await place.counter()
    earlier = (await place.items())[at]
    await place.add("second")
    await place.put(at, earlier)
    await place.is_found(lambda: place.add("third"))
    assert await place.messages() == ["first", "second"]


async def _plaintext(place: Place) -> None:
    at = await place.role()
    for value in ('"admin"', "", "7"):
        await place.write(at, value, Etag("A" * 22))
        await place.is_found(place.read)


async def _changed_ring(place: Place) -> None:
    await place.role()
    item = (await place.items("keyring"))["keyring"]
    ring = from_json(item.value or "")
    lock = ring["locks"][0]
    changes: list[dict[str, object]] = [
        {"format": 1},
        {"format": 3},
        {"salt": "A" * 43 + "="},
        {"first": 2},
        {"closing": True},
        {"locks": [lock, lock]},
        {"locks": [lock[:-8]]},
        {"retired": ["AAAA"]},
    ]
    assert {field for change in changes for field in change} == ring.keys(), "each field"
    for change in changes:
        await place.write("keyring", to_json(ring | change).decode(), item.etag)
        with pytest.raises((WrongKeyError, CorruptDataError)):
            await place.read()


async def _earlier_ring(place: Place) -> None:
    await place.role()
    rings = [(await place.items())["keyring"]]
    async with place.opened(NEW, OLD) as persistence:
        rings.append((await place.items())["keyring"])
        await rotate(persistence.driver)
    for ring in rings:
        await place.put("keyring", ring)

        async def read() -> str | None:
            async with place.opened(NEW) as persistence:
                return await persistence.kv(str, "roles").get("bob")

        await place.is_found(read, WrongKeyError)


async def _changed_manifest(place: Place) -> None:
    await place.role()
    item = (await place.items())[MANIFEST]
    await place.write(MANIFEST, '{"format":1,"oldest_reader":1,"wrappers":[]}', item.etag)
    await place.is_found(place.read, WrongStackError)


async def _changed_mark(place: Place) -> None:
    at = await place.role()
    await place.write("keyring!rotation", '{"generation":2,"after":"zzz"}', Etag("A" * 22))
    async with place.opened(NEW, OLD) as persistence:
        await rotate(persistence.driver)
    value = (await place.items())[at].value
    assert isinstance(value, bytes)
    assert value[1:3] == b"\0\2"


FOUND = {
    "change or truncate a value": _changed_value,
    "change the etag of a value": _changed_etag,
    "move or copy a value to another key": _moved_value,
    "swap, copy or double messages, events or jobs, or move them to another log": _exchanged_entries,
    "change the counter of a log": _changed_counter,
    "set the counter of a log back to an earlier value": _counter_set_back,
    "store plaintext": _plaintext,
    "change any field of the key ring": _changed_ring,
    "put back the key ring from before or during a rotation": _earlier_ring,
    "remove the encryption from the manifest": _changed_manifest,
    "change the record of a rotation's progress": _changed_mark,
}


# Not found.


async def _deleted(place: Place) -> None:
    at = await place.role()
    await place.logs()
    entries = await place.entries("messages!")
    await place.driver.apply([Delete(at)])
    await place.driver.apply([Delete(item.key) for item in entries])
    assert await place.read() is None
    assert await place.messages() == []


async def _put_back(place: Place) -> None:
    at = await place.role()
    earlier = (await place.items())[at]
    async with place.opened() as persistence:
        await persistence.kv(str, "roles").set("bob", "nobody")
    await place.put(at, earlier)
    assert await place.read() == "guest"
    async with place.opened() as persistence:
        await persistence.kv(str, "roles").delete("bob")
    await place.put(at, earlier)
    assert await place.read() == "guest"


async def _changed_times(place: Place) -> None:
    async with place.opened() as persistence:
        await persistence.kv(str, "roles").set("bob", "guest", ttl=SECONDS)
    ((at, item),) = (await place.items("kv!")).items()
    await place.write(at, item.value, item.etag)
    await asyncio.sleep(SECONDS + 0.1)
    assert await place.read() == "guest"
    ((_, later),) = (await place.items("kv!")).items()
    assert later.updated_at >= item.updated_at


async def _restored(place: Place) -> None:
    await place.logs()
    before = await place.items()
    await place.add("more")
    after = await place.items()
    await place.driver.apply([Delete(at) for at in after.keys() - before.keys()])
    for at, item in before.items():
        await place.put(at, item)
    assert await place.messages() == ["s 0", "s 1", "s 2"]


NOT_FOUND = {
    "delete items, or entries of a log": _deleted,
    "put back an earlier version of one item, or an item that was deleted": _put_back,
    "change when an item expires, or when it was written": _changed_times,
    "restore the whole database to an earlier state": _restored,
}


# What the old key is still good for.


async def _rotated(place: Place, reseal: bool) -> KeyRing:
    """Rotate a place with one record; return what somebody has who kept the old key and a copy of the key ring."""
    await place.role()
    leaked = await open_ring(place.driver, [OLD])
    async with place.opened(NEW, OLD) as persistence:
        await rotate(persistence.driver, reseal=reseal)
    return leaked


async def _old_key_opens(place: Place, reseal: bool) -> str:
    await _rotated(place, reseal)
    await place.is_found(place.read, WrongKeyError)
    return "no"


async def _decrypts(place: Place, reseal: bool) -> str:
    leaked = await _rotated(place, reseal)
    async with place.opened(NEW) as persistence:
        await persistence.kv(str, "roles").set("alice", "new")
    for item in (await place.items("kv!")).values():
        with pytest.raises(WrongKeyError):
            leaked.sealer.unseal(item)
    return "no"


async def _forges(place: Place, reseal: bool) -> str:
    leaked = await _rotated(place, reseal)
    put = Put(key(name("kv"), text("roles"), text("bob")), '"admin"')
    at = leaked.digests.stored(put.key)
    await place.write(at, leaked.sealer.seal(put, at), put.etag)
    async with place.opened(NEW) as persistence:
        try:
            return "yes" if await persistence.kv(str, "roles").get("bob") == "admin" else "no"
        except CorruptDataError:
            return "no"


async def _guesses(place: Place, reseal: bool) -> str:
    leaked = await _rotated(place, reseal)
    at = leaked.digests.stored(key(name("kv"), text("roles"), text("bob")))
    return "yes" if at in await place.items() else "no"


async def _service_with_the_old_key(place: Place, reseal: bool) -> None:
    await place.role()
    service = Encrypted(place.driver, key=OLD)
    await service.open()
    other = key(name("kv"), text("roles"), text("service"))
    await service.apply([Put(other, '"before"')])
    async with place.opened(NEW, OLD) as persistence:
        await rotate(persistence.driver, reseal=reseal)
    await asyncio.sleep(_ring_guard.PROOF_SECONDS)
    if reseal:
        with pytest.raises(OutcomeUnknownError, match="older one"):
            await service.apply([Put(other, '"too late"')])
        with pytest.raises(WrongKeyError):
            await service.get([other])
        return
    await service.apply([Put(other, '"written late"')])
    ((item,), (moved,)) = await service.get([other]), [await place.read_with(NEW, "service")]
    assert item is not None
    assert (item.value, moved) == ('"written late"', "written late")


async def _leases(place: Place, reseal: bool) -> None:
    async with place.opened(OLD, NEW) as before:
        lease = Lease(before.driver, key(name("leases"), text("l")))
        protected, soon = (key(name("kv"), text("roles"), text(who)) for who in ("protected", "soon"))
        await before.driver.apply([Put(soon, "1", None, 60_000)])
        with pytest.raises(LeaseLostError) if reseal else nullcontext():
            async with lease.hold(ttl=600) as handle:
                async with place.opened(NEW, OLD) as persistence:
                    await rotate(persistence.driver, reseal=reseal)
                    ends = [item for item in (await place.items()).values() if item.ttl_ms is not None and item.value]
                    assert len(ends) == 2
                    assert {bytes(item.value)[2] for item in ends if isinstance(item.value, bytes)} == {1 + reseal}
                handle.saves = [Put(protected, "saved")]
    async with place.opened(NEW) as persistence:
        assert [item and item.value for item in await persistence.driver.get([protected, soon])] == [
            None if reseal else "saved",
            "1",
        ]


async def _late_write(place: Place, reseal: bool) -> None:
    leaked = await _rotated(place, reseal)
    put = Put(key(name("kv"), text("roles"), text("bob")), '"late"')
    at = leaked.digests.stored(put.key)
    await place.write(at, leaked.sealer.seal(put, at), put.etag)
    if reseal:
        await place.is_found(lambda: place.read_with(NEW, "bob"))
        return
    assert await place.read_with(NEW, "bob") == "late"
    async with place.opened(NEW) as persistence:
        assert (await rotate(persistence.driver)).sealed == 1
    assert await place.read_with(NEW, "bob") == "late"


ROTATED: dict[str, Callable[[Place, bool], Awaitable[str | None]]] = {
    "the old key opens the database": _old_key_opens,
    "the old key and an old copy of the key ring decrypt what is written afterwards": _decrypts,
    "the old key and an old copy of the key ring forge values that the new key accepts": _forges,
    "the old key and an old copy of the key ring reveal which digests belong to a guessed text": _guesses,
    "a service that has only the old key": _service_with_the_old_key,
    "leases, and items that expire within the hour": _leases,
    "a write whose outcome was unknown, and that arrives late under the old key": _late_write,
}


def rows(title: str) -> list[list[str]]:
    """The tables of a section of the page, one after the other, without their heads."""
    section = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()[2:]
    ]


def test_every_row_of_the_page_has_a_test() -> None:
    attempts = [row[0] for row in rows("What is protected")]
    assert attempts == [*FOUND, *NOT_FOUND]
    assert [row[0] for row in rows("Key rotation")] == list(ROTATED)


@pytest.mark.parametrize("attempt", FOUND)
async def test_it_is_found(place: Place, attempt: str) -> None:
    await FOUND[attempt](place)


@pytest.mark.parametrize("attempt", NOT_FOUND)
async def test_it_is_not_found_and_the_page_says_so(place: Place, attempt: str) -> None:
    await NOT_FOUND[attempt](place)


@pytest.mark.parametrize("form", ["rotate", "rotate --reseal"])
@pytest.mark.parametrize("what", ROTATED)
async def test_what_a_rotation_gives(place: Place, monkeypatch: pytest.MonkeyPatch, what: str, form: str) -> None:
    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 0.1)
    monkeypatch.setattr(_rotation, "_NOTICED_SECONDS", 0.3)
    monkeypatch.setattr(_rotation, "_LEASE_SECONDS", 0.3)
    reseal = form.endswith("--reseal")
    found = await ROTATED[what](place, reseal)
    (row,) = [row for row in rows("Key rotation") if row[0] == what]
    if found is not None:
        assert row[1 + reseal] == found


async def test_no_number_in_a_key_is_derived_from_text() -> None:
    """The counters of threads and feedback are spread over shards, whose numbers can be read."""
    shards = set()
    for _ in range(20):
        async with MemoryDriver() as driver, create_persistence(driver, wrappers=[encrypted(key=OLD)]) as persistence:
            await persistence.threads.create(id="the same", user_id="u", agent_name="a")
            shards |= {item.key async for item in scan_all(driver, "threads.count")}
            assert (await persistence.threads.stats()).threads == 1
            await persistence.threads.delete("the same")
            assert (await persistence.threads.stats()).threads == 0
    assert len(shards) > 1, "the same id comes to the same shard every time"
