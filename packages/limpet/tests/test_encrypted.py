"""What lies below an encrypted driver, what it gives back, and what it refuses to give back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from limpet import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    InvalidKeyError,
    TooLargeError,
    WrongStackError,
    create_persistence,
    create_storage,
)
from limpet.driver import (
    Check,
    Delete,
    Driver,
    If,
    Item,
    Key,
    MemoryDriver,
    Put,
    Range,
    key,
    name,
    new_etag,
    number,
    text,
)
from limpet.driver.kit import BaseDriver
from limpet.opening import MANIFEST
from limpet.structures import Log
from limpet.wrappers import Encrypted, encrypted

KEY = bytes(range(32))
KV = name("kv")
ALICE, BOB = key(KV, text("users"), text("alice")), key(KV, text("users"), text("bob"))
CANARY = "canary"


@pytest.fixture
async def inner() -> AsyncIterator[MemoryDriver]:
    async with MemoryDriver() as driver:
        yield driver


@pytest.fixture
async def driver(inner: MemoryDriver) -> Encrypted:
    driver = Encrypted(inner, key=KEY)
    await driver.open()
    return driver


async def one(driver: Driver, at: Key) -> Item:
    (item,) = await driver.get([at])
    assert item is not None
    return item


async def everything(driver: Driver) -> dict[Key, Item]:
    return {item.key: item for item in (await driver.scan(Range("", limit=1000))).items}


async def stored(inner: Driver) -> dict[Key, Item]:
    """What lies below, without the key ring."""
    return {at: item for at, item in (await everything(inner)).items() if at != "keyring"}


@pytest.mark.parametrize(
    "value",
    ["", "text", "\0😀", b"", b"bytes\xff", '{"a":1}', "12345", "x" * 100_000],
    ids=lambda value: repr(value[:9]),
)
async def test_values_come_back_and_never_look_alike(
    inner: MemoryDriver, driver: Encrypted, value: str | bytes
) -> None:
    await driver.apply([Put(ALICE, value), Put(BOB, value)])
    for at in (ALICE, BOB):
        item = await one(driver, at)
        assert (item.value, type(item.value), item.key) == (value, type(value), at)
    first, second = (item.value for item in (await stored(inner)).values())
    assert isinstance(first, bytes)
    assert first != second
    assert {at: item.value for at, item in (await everything(driver)).items()} == {ALICE: value, BOB: value}


async def test_text_of_keys_is_digested_and_names_and_numbers_are_not(inner: MemoryDriver, driver: Encrypted) -> None:
    places = [key(KV, text(CANARY)), key(KV, text("x"), text(CANARY)), key(name("other"), text(CANARY), number(7))]
    await driver.apply([Put(at, CANARY) for at in places])
    below = list(await stored(inner))
    assert not any(CANARY in at for at in below)
    assert sorted(at.split("!")[0] for at in below) == ["kv", "kv", "other"]
    assert any(at.endswith(f"!{number(7)}") for at in below)
    digests = {at.split("!")[1 if at.startswith("other") else -1] for at in below}
    assert len(digests) == 3, "equal text below different keys digests alike"
    assert sorted(await everything(driver)) == sorted(places)


async def test_what_lies_below_a_key_stays_below_it(driver: Encrypted) -> None:
    deep = [key(*[text("deep")] * depth) for depth in (1, 39, 40, 41, 60)]
    deep += [key(deep[-1], number(3)), key(deep[-1], name("child"), number(4)), key(name("n" * 1000), text("x"))]
    await driver.apply([Put(at, at) for at in deep])
    for base in [*deep, key(text("dee")), deep[0] + "p"]:
        wanted = {at for at in deep if at.startswith(f"{base}!")}
        assert {item.key for item in (await driver.scan(Range(base))).items} == wanted
    assert [item and item.value for item in await driver.get(deep)] == deep
    assert await driver.clear(deep[-4]) == 2
    assert set(await everything(driver)) == {*deep[:5], deep[-1]}


async def test_a_page_is_continued_from_its_next(driver: Encrypted) -> None:
    places = {key(KV, text(str(at)), *([text("deep")] * (at % 45))) for at in range(200)}
    await driver.apply([Put(at, "x") for at in places])
    for reverse in (False, True):
        found: list[Key] = []
        bound: Key | None = None
        while True:
            way: dict[str, Any] = {"before": bound} if reverse else {"after": bound}
            page = await driver.scan(Range(KV, limit=7, reverse=reverse, values=False, **way))
            found += [item.key for item in page.items]
            assert all(item.value is None for item in page.items)
            bound = page.next
            if bound is None:
                break
        assert len(found) == len(places)
        assert set(found) == places


@pytest.mark.parametrize("how", ["swapped", "moved", "an older version", "another etag"])
async def test_a_sealed_value_is_bound_to_its_place_and_its_etag(
    inner: MemoryDriver, driver: Encrypted, how: str
) -> None:
    await driver.apply([Put(ALICE, "admin"), Put(BOB, "guest")])
    alice, bob = [item for at in (ALICE, BOB) for item in await inner.get([driver.stored_key(at)]) if item]
    if how == "another etag":
        await inner.apply([Put(bob.key, bob.value or "")])
    elif how == "an older version":
        await driver.apply([Put(BOB, "new")])
        newer = await one(inner, bob.key)
        await inner.apply([Delete(bob.key)])
        await inner.apply([Put(bob.key, bob.value or "", etag=newer.etag)])
    else:
        etag = bob.etag if how == "moved" else alice.etag
        await inner.apply([Delete(bob.key)])
        await inner.apply([Put(bob.key, alice.value or "", etag=etag)])
    for read in (driver.get([BOB]), driver.scan(Range(""))):
        with pytest.raises(CorruptDataError, match="moved from another key") as caught:
            await read
        assert bob.key in str(caught.value)
    assert (await one(driver, ALICE)).value == "admin"


@pytest.mark.parametrize("how", ["swapped", "copied", "doubled", "moved to another log"])
async def test_an_entry_is_bound_to_its_log_and_its_number(inner: MemoryDriver, driver: Encrypted, how: str) -> None:
    logs = [Log(driver, key(name("messages"), text(session))) for session in ("mine", "yours")]
    for log in logs:
        await log.create()
        await log.append("pay 1?")  # what is appended together, and what is not
        await log.append("no", "yes")
    below = list(await stored(inner))
    mine, yours = ([at for at in below if at.startswith(f"{driver.stored_key(log.base)}!e!")] for log in logs)
    first, second = await one(inner, mine[1]), await one(inner, mine[2])
    puts = {
        "swapped": [(first.key, second), (second.key, first)],
        "copied": [(first.key, second)],
        "doubled": [(f"{mine[0][:-16]}{number(3)}", second)],
        "moved to another log": [(yours[1], first)],
    }[how]
    for at, item in puts:
        await inner.apply([Delete(at)])
        await inner.apply([Put(at, item.value or "", etag=item.etag)])
    with pytest.raises(CorruptDataError, match="moved from another key"):
        await logs[how == "moved to another log"].read()
    other = logs[how != "moved to another log"]
    assert [entry.value for entry in await other.read()] == ["pay 1?", "no", "yes"]


async def test_a_counter_that_was_set_back_overwrites_nothing(inner: MemoryDriver, driver: Encrypted) -> None:
    log = Log(driver, key(name("messages"), text("s")))
    await log.create()
    await log.append("first")
    at = driver.stored_key(log.counter)
    earlier = await one(inner, at)
    await log.append("second")
    await inner.apply([Delete(at)])
    await inner.apply([Put(at, earlier.value or "", etag=earlier.etag)])
    for again in (log, Log(driver, log.base)):
        with pytest.raises(CorruptDataError, match="was set back to an earlier value"):
            await again.append("third")
    assert [entry.value for entry in await log.read()] == ["first", "second"]
    await inner.apply([Delete(at)])
    with pytest.raises(CorruptDataError, match="says that its next number is 0"):
        await log.append("third")
    await inner.apply([Put(at, "7")])
    with pytest.raises(CorruptDataError, match="never encrypted"):
        await log.append("third")


async def test_tasks_and_processes_number_one_log_together(inner: MemoryDriver, driver: Encrypted) -> None:
    others = [Encrypted(inner, key=KEY) for _ in range(3)]
    for other in others:
        await other.open()
    base = key(name("messages"), text("s"))
    await Log(driver, base).create()

    async def write(driver: Driver, task: int) -> list[tuple[int, str]]:
        log, mine = Log(driver, base), []
        for turn in range(10):
            value = f"{task} {turn}"
            mine.append((await log.append(value), value))
        return mine

    tasks = [write(each, task) for task, each in enumerate([driver, *others] * 5)]
    told = sorted(each for found in await asyncio.gather(*tasks) for each in found)
    assert [seq for seq, _ in told] == list(range(200))
    assert [(entry.seq, entry.value) for entry in await Log(driver, base).read()] == told


async def test_who_is_cancelled_keeps_nobody_else_from_appending(inner: MemoryDriver, driver: Encrypted) -> None:
    log = Log(driver, key(name("messages"), text("s")))
    await log.create()
    going, commit = asyncio.Event(), inner.commit

    async def slow(units: Any) -> Any:
        await going.wait()
        return await commit(units)

    inner.commit = slow  # type: ignore[method-assign]
    tasks = [asyncio.create_task(log.append(str(n))) for n in range(6)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()  # it goes first
    await asyncio.sleep(0.01)
    tasks[1].cancel()  # it goes with others by then
    await asyncio.sleep(0.01)
    going.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found[:2]] == [asyncio.CancelledError] * 2
    entries = {entry.seq: entry.value for entry in await log.read()}
    assert {seq: str(n) for n, seq in enumerate(found) if isinstance(seq, int)}.items() <= entries.items()
    assert sorted(entries) == list(range(len(entries)))
    assert len(entries) >= 4
    late = asyncio.create_task(log.append("late"))
    await asyncio.sleep(0)
    late.cancel()
    await driver.close()


async def test_no_cut_and_no_changed_byte_goes_unnoticed(inner: MemoryDriver, driver: Encrypted) -> None:
    await driver.apply([Put(ALICE, "a secret")])
    item = await one(inner, driver.stored_key(ALICE))
    sealed = bytes(item.value) if isinstance(item.value, bytes) else b""
    wrong: list[str | bytes] = [sealed[:length] for length in range(len(sealed))]
    wrong += [bytes([*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]]) for at in range(len(sealed))]
    for value in [*wrong, sealed + b"x", sealed.decode("latin-1"), "", "plain text", "123"]:
        await inner.apply([Delete(item.key)])
        await inner.apply([Put(item.key, value, etag=item.etag)])
        with pytest.raises(CorruptDataError, match="kv!"):
            await driver.get([ALICE])


async def test_conflicts_carry_what_was_put_and_name_what_cannot_be_read(
    inner: MemoryDriver, driver: Encrypted
) -> None:
    await driver.apply([Put(ALICE, "a"), Put(BOB, "b")])
    refused = [Put(ALICE, "x", If.ABSENT), Put(BOB, "x", new_etag())]
    with pytest.raises(ConflictError) as caught:
        await driver.apply(refused)
    assert {at: item and (item.key, item.value) for at, item in caught.value.items.items()} == {
        ALICE: (ALICE, "a"),
        BOB: (BOB, "b"),
    }
    await inner.apply([Put(driver.stored_key(BOB), "damaged")])
    (outcome,) = await driver.commit([refused])
    assert isinstance(outcome, ConflictError)
    assert outcome.keys == (ALICE, BOB)
    assert set(outcome.items) == {ALICE}


async def test_nothing_lies_in_the_clear(inner: MemoryDriver, driver: Encrypted) -> None:
    log = Log(driver, key(name("messages"), text(CANARY)))
    await log.create()
    await log.append("a", "b")
    await driver.apply([Put(key(name("user"), text("n")), "1234"), Put(key(name("user"), name("pin")), "1234")])
    await driver.apply([Put(key(name("user"), name("n")), "12345678901234567"), Put(name("n"), "12")])
    assert not [at for at, item in (await stored(inner)).items() if isinstance(item.value, str)]
    fresh = Encrypted(inner, key=KEY)
    await fresh.open()
    assert (await everything(fresh))[log.counter].value == "2"
    with pytest.raises(ConflictError) as caught:
        await driver.apply([Put(log.counter, "7", If.ABSENT)])
    found = caught.value.items[log.counter]
    assert found is not None
    assert (found.key, found.value) == (log.counter, "2")
    for at in ("kv!n", "images!n", driver.stored_key(log.counter)):
        await inner.apply([Put(at, "42")])
        with pytest.raises(CorruptDataError, match="without encryption"):
            await driver.get([at])


@pytest.mark.parametrize("depth", [38, 39, 40, 41, 60])
async def test_a_log_works_however_deep_it_lies(inner: MemoryDriver, driver: Encrypted, depth: int) -> None:
    log = Log(driver, key(*[text("deep")] * depth))
    await log.create()
    assert [await log.append(str(n)) for n in range(3)] == [0, 1, 2]
    assert await log.append_unique("3", "id") == (3, True)
    assert await log.append_unique("3", "id") == (3, False)
    other = Encrypted(inner, key=KEY)
    await other.open()
    assert [entry.value for entry in await Log(other, log.base).read()] == ["0", "1", "2", "3"]
    assert await Log(other, log.base).truncate(0) == 3
    assert {log.base, log.counter} < set(await everything(other))
    assert await Log(other, log.base).delete()


async def test_no_entry_is_stored_where_nobody_looks_for_it(driver: Encrypted) -> None:
    head = Put(name("head"), "")
    await driver.apply([head])
    for depth in range(30, 60):
        for numbers in range(4):
            entries = key(*[text("deep")] * depth, *[number(7)] * numbers)
            try:
                first = await driver.append("log!n", [Put(entries, "x")], Check(head.key))
            except InvalidKeyError:
                assert numbers > 1
                assert depth > 30
            else:
                assert (await one(driver, f"{entries}!{number(first)}")).value == "x"


async def test_the_key_ring_is_nobodys_to_see_or_to_clear(inner: MemoryDriver, driver: Encrypted) -> None:
    await driver.apply([Put(ALICE, "x")])
    ring = await one(inner, "keyring")
    for at in ("keyring", key("keyring", name("rotation"))):
        with pytest.raises(InvalidKeyError, match="use another name"):
            await driver.get([at])
        with pytest.raises(InvalidKeyError):
            await driver.apply([Put(at, "x")])
    await driver.apply([Put(name("keyrings"), "not ours")])
    assert await driver.clear("") == 2
    assert await everything(driver) == {}
    assert await one(inner, "keyring") == ring
    page = await driver.scan(Range("", limit=1))
    assert (page.items, page.next) in (([], None), ([], "keyring"))
    assert (await driver.scan(Range("", after="keyring"))).items == []


async def test_hints_name_true_keys_and_never_digests(inner: MemoryDriver, driver: Encrypted) -> None:
    other = Encrypted(inner, key=KEY)
    await other.open()
    mine, theirs = driver.watch(""), other.watch("")
    assert (await anext(mine), await anext(theirs)) == (None, None)
    log = Log(driver, key(name("messages"), text("s")))
    await log.create()
    await log.append("x")
    await driver.apply([Put(name("plain"), "x"), Put(ALICE, "x")])
    for hints in (mine, theirs):
        told = await anext(hints) or frozenset()
        (entry,) = told - {log.base, log.counter, "plain", ALICE}
        assert entry.startswith(f"{log.base}!e!")
        assert len(told) == 5
    await driver.apply([Delete(ALICE)])
    assert await anext(mine) == frozenset({ALICE})
    assert await anext(theirs) is None, "only who deleted it knows what it was"
    await driver.apply([Put(BOB, "x")])
    await inner.apply([Put(driver.stored_key(BOB), "damaged")])
    assert await anext(theirs) is None
    below = driver.watch(key(KV, text("users")))
    assert await anext(below) is None
    await driver.apply([Put(key(KV, text("others"), text("x")), "x")])
    await driver.apply([Put(ALICE, "x")])
    async with asyncio.timeout(2):
        assert await anext(below) == frozenset({ALICE})
    for each in (mine, theirs, below):
        await each.aclose()  # type: ignore[attr-defined]


async def test_limits_are_refused_before_anything_is_sealed(inner: MemoryDriver, driver: Encrypted) -> None:
    most = driver.capabilities.max_value_bytes
    assert inner.capabilities.max_value_bytes - 2048 < most < inner.capabilities.max_value_bytes
    with pytest.raises(TooLargeError, match=f"alice.*takes {most}"):
        await driver.apply([Put(ALICE, bytes(most + 1))])
    await driver.apply([Put(key(*[text("x")] * 300), bytes(most))])
    assert len(await everything(driver)) == 1


async def test_a_wrapper_that_is_not_open_says_so() -> None:
    driver = Encrypted(MemoryDriver(), key=KEY)
    for call in (driver.get([ALICE]), driver.apply([Put(ALICE, "x")]), driver.scan(Range("")), driver.clear("")):
        with pytest.raises(ClosedError):
            await call
    async with driver:
        await driver.open()
    with pytest.raises(ClosedError):
        await driver.get([ALICE])


async def test_the_stack_is_checked_before_anything_is_written(inner: MemoryDriver) -> None:
    async with create_storage(inner) as storage:
        await storage.set_item("a", "plain")
    before = await everything(inner)
    with pytest.raises(WrongStackError, match="without encryption"):
        await create_storage(inner, wrappers=[encrypted(key=KEY)])
    assert await everything(inner) == before
    await inner.apply([Delete(MANIFEST)])
    with pytest.raises(WrongStackError):
        await create_storage(inner, wrappers=[encrypted(key=KEY)])
    assert set(await everything(inner)) == set(before) - {MANIFEST}


async def test_an_encrypted_place_is_not_opened_plainly(inner: MemoryDriver) -> None:
    async with create_persistence(inner, wrappers=[encrypted(key=KEY)]) as persistence:
        await persistence.sessions.save_session({"sessionId": CANARY})
        assert [session.session_id for session in await persistence.sessions.find_all_sessions()] == [CANARY]
    before = await everything(inner)
    with pytest.raises(WrongStackError, match="'encrypted'"):
        await create_persistence(inner)
    assert await everything(inner) == before
    async with create_persistence(inner, wrappers=[encrypted(key=KEY)]) as persistence:
        assert await persistence.sessions.session_exists(CANARY)
        assert (await one(persistence.driver, MANIFEST)).value == (await one(inner, MANIFEST)).value
        assert MANIFEST in await everything(persistence.driver)


async def test_the_default_sign_of_life_does_not_disturb(inner: MemoryDriver) -> None:
    class Bare(MemoryDriver):
        _health = BaseDriver._health

    async with Encrypted(Bare(), key=KEY) as driver:
        await driver.health(probe=True)
        await everything(driver)


async def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpet.wrappers.encryption._encrypted.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"limpet\[encryption\]"):
        Encrypted(MemoryDriver(), key=KEY)


def test_nobody_who_does_not_encrypt_imports_cryptography() -> None:
    script = "import sys, limpet, limpet.wrappers; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


async def test_no_repr_shows_a_key(driver: Encrypted) -> None:
    assert repr(KEY)[2:20] not in f"{driver!r} {driver.ring!r} {vars(driver.ring.digests)!r}".replace("index_key", "")


async def test_a_second_one_around_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="second one"):
        Encrypted(Encrypted(MemoryDriver(), key=KEY), key=KEY)


def test_the_capabilities_say_what_is_lost() -> None:
    plain = MemoryDriver.capabilities
    assert replace(Encrypted(MemoryDriver(), key=KEY).capabilities, text_order=True, append=True) == replace(
        plain,
        max_value_bytes=plain.max_value_bytes - Encrypted.added,
        max_batch_bytes=plain.max_batch_bytes - plain.max_batch_bytes // 8,
    )
