"""Encryption keys: where they come from, what one looks like, and which of them open a place."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from limpet import ConfigurationError, CorruptDataError, FormatError, LimpetError, WrongKeyError
from limpet.driver import Delete, Driver, Item, Key, MemoryDriver, Put, Range, key, name, text
from limpet.wrappers import Encrypted, rotate
from limpet.wrappers.encryption._key_sources import KeySource, find_key, key_in_environment, new_key

KEY = bytes(range(200, 232))
OTHER = bytes(range(32))
AT = key(name("kv"), text("secret"))
VARIABLES = [f"LIMPET_ENCRYPTION_{which}KEY{file}" for which in ("", "OLD_") for file in ("", "_FILE")]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
async def inner() -> AsyncIterator[MemoryDriver]:
    async with MemoryDriver() as driver:
        yield driver


async def items(driver: Driver) -> dict[Key, Item]:
    return {item.key: item for item in (await driver.scan(Range(""))).items}


async def opened(inner: Driver, key: KeySource | None, *old: KeySource) -> Encrypted:
    driver = Encrypted(inner, key=key, old_keys=old)
    await driver.open()
    return driver


async def from_a_manager() -> str:
    await asyncio.sleep(0)
    return KEY.hex()


WRITTEN: dict[str, KeySource] = {
    "bytes": KEY,
    "hex": KEY.hex(),
    "capital hex": KEY.hex().upper(),
    "base64": b64encode(KEY).decode(),
    "base64 without padding": b64encode(KEY).decode().rstrip("="),
    "base64url": urlsafe_b64encode(KEY).decode(),
    "base64url without padding": urlsafe_b64encode(KEY).decode().rstrip("="),
    "blanks around it": f" {KEY.hex()}\n",
    "a function": lambda: KEY,
    "a function for text": lambda: KEY.hex(),
    "an async function": from_a_manager,
}


@pytest.mark.parametrize("how", WRITTEN)
async def test_a_key_may_be_written_so(how: str) -> None:
    assert await find_key(WRITTEN[how]) == KEY


WRONG: dict[str, Any] = {
    "empty": "",
    "passphrases": "correct horse battery staple",
    "32 characters": "0123456789abcdef0123456789abcdef",
    "63 hex characters": KEY.hex()[:-1],
    "65 hex characters": KEY.hex() + "0",
    "no hex": "g" * 64,
    "blanks inside": " ".join(KEY.hex()[:32]) + "0",
    "16 bytes as base64": b64encode(KEY[:16]).decode(),
    "33 bytes as base64": b64encode(KEY + b"x").decode(),
    "base64 with stray bits": urlsafe_b64encode(KEY).decode()[:42] + "f",
    "no ascii": "é" * 43,
    "31 bytes": KEY[:31],
    "33 bytes": KEY + b"x",
    "hex as bytes": KEY.hex().encode(),
    "a number": 32,
    "a function that gives nothing": lambda: None,
    "a function that gives a passphrase": lambda: "hunter2",
}


@pytest.mark.parametrize("how", WRONG)
async def test_anything_else_is_refused_and_not_shown(how: str) -> None:
    driver = Encrypted(MemoryDriver(), key=WRONG[how])
    with pytest.raises(ConfigurationError) as caught:
        await driver.open()
    assert not driver.is_open, "what was opened for nothing is closed"
    error: BaseException | None = caught.value
    while error is not None:
        for secret in ("horse", "hunter2", KEY.hex()[:20], "0123456789", repr(KEY)[4:20]):
            assert secret not in str(error)
        error = error.__cause__ or error.__context__


async def test_a_key_from_the_environment(inner: MemoryDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="LIMPET_ENCRYPTION_KEY_FILE"):
        await opened(inner, None)
    assert await items(inner) == {}
    monkeypatch.setenv("LIMPET_ENCRYPTION_KEY", KEY.hex())
    await (await opened(inner, None)).apply([Put(AT, "x")])
    monkeypatch.setenv("LIMPET_ENCRYPTION_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match="both set"):
        await opened(inner, None)
    monkeypatch.delenv("LIMPET_ENCRYPTION_KEY")
    (tmp_path / "key").write_text(KEY.hex() + "\n")
    assert AT in await items(await opened(inner, None))
    monkeypatch.setenv("MY_KEY", KEY.hex())
    assert AT in await items(await opened(inner, "env://MY_KEY"))
    with pytest.raises(ConfigurationError, match="YOUR_KEY is not set"):
        await opened(inner, "env://YOUR_KEY")
    monkeypatch.setenv("LIMPET_ENCRYPTION_KEY_FILE", str(tmp_path / "new"))
    monkeypatch.setenv("LIMPET_ENCRYPTION_OLD_KEY_FILE", str(tmp_path / "key"))
    (tmp_path / "new").write_text(new_key())
    assert AT in await items(await opened(inner, None))
    assert key_in_environment("LIMPET_ENCRYPTION_OLD_KEY") == tmp_path / "key"


async def test_a_key_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "master_key"
    monkeypatch.setenv("LIMPET_SECRETS", str(tmp_path))
    monkeypatch.setenv("STORED_IN", "secret://master_key")
    for content in (KEY.hex().encode(), b64encode(KEY) + b"\r\n", KEY):
        file.write_bytes(content)
        for source in (file, "secret://master_key", "env://STORED_IN"):
            assert await find_key(source) == KEY
    for content in (b"", b"\n", KEY.hex()[:32].encode(), KEY.hex()[:-1].encode(), KEY[:-1], KEY + b"\n", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="master_key") as caught:
            await find_key("secret://master_key")
        assert KEY.hex()[:16] not in str(caught.value)
    file.unlink()
    with pytest.raises(ConfigurationError, match="keygen"):
        await find_key(file)
    for outside in ("secret://", "secret://..", "secret://../master_key", "secret:///etc/passwd", "secret://a\\b"):
        with pytest.raises(ConfigurationError, match="does not name a secret"):
            await find_key(outside)


async def test_a_generated_key_is_one() -> None:
    assert len(await find_key(new_key())) == 32
    assert new_key() != new_key()


# Which keys open a place.


async def test_a_wrong_key_is_found_at_open(inner: MemoryDriver) -> None:
    await (await opened(inner, KEY)).apply([Put(AT, "x")])
    before = await items(inner)
    with pytest.raises(WrongKeyError, match="was not encrypted with this key"):
        await opened(inner, OTHER)
    with pytest.raises(WrongKeyError):
        await opened(inner, OTHER, new_key())
    assert await items(inner) == before
    assert (await items(await opened(inner, KEY)))[AT].value == "x"


async def test_what_was_opened_for_nothing_is_closed_and_nothing_else(inner: MemoryDriver) -> None:
    await opened(inner, KEY)
    with pytest.raises(WrongKeyError):
        await opened(inner, OTHER)
    assert inner.is_open


async def test_a_new_key_needs_the_one_before(inner: MemoryDriver) -> None:
    await (await opened(inner, KEY)).apply([Put(AT, "old")])
    third = os.urandom(32)
    with pytest.raises(WrongKeyError):
        await opened(inner, third, OTHER)
    new = await opened(inner, OTHER, KEY)
    assert (await items(new))[AT].value == "old"
    await new.apply([Put(AT, "new")])
    with pytest.raises(WrongKeyError, match="the key before it too"):
        await opened(inner, OTHER)
    with pytest.raises(WrongKeyError, match="newer key"):
        await opened(inner, KEY)
    with pytest.raises(WrongKeyError, match="newer key"):
        await opened(inner, third, KEY)
    # A service that knows both, in whichever order, adds nothing and takes part.
    ring = (await items(inner))["keyring"].etag
    other_way_round = await opened(inner, KEY, OTHER)
    assert (await items(other_way_round))[AT].value == "new"
    await other_way_round.apply([Put(AT, "newer")])
    assert (await items(await opened(inner, OTHER, KEY)))[AT].value == "newer"
    assert (await items(inner))["keyring"].etag == ring


async def test_who_was_open_before_hears_of_a_new_key(inner: MemoryDriver) -> None:
    knows_both, knows_one = await opened(inner, KEY, OTHER), await opened(inner, KEY)
    await knows_both.apply([Put(AT, "old")])
    new = await opened(inner, OTHER, KEY)
    await new.apply([Put(AT, "new")])
    assert (await items(knows_both))[AT].value == "new"
    with pytest.raises(WrongKeyError):
        await knows_one.get([AT])
    with pytest.raises(WrongKeyError):
        await knows_one.scan(Range(""))
    late = key(name("kv"), text("late"))
    await knows_one.apply([Put(late, "sealed by a late writer")])
    assert (await items(new))[late].value == "sealed by a late writer"


async def test_a_retired_key_is_not_taken_for_a_new_one(inner: MemoryDriver) -> None:
    await (await opened(inner, KEY)).apply([Put(AT, "x")])
    await rotate(await opened(inner, OTHER, KEY))
    with pytest.raises(WrongKeyError, match="older one"):
        await opened(inner, KEY)
    ring = (await items(inner))["keyring"].etag
    late_to_know = await opened(inner, KEY, OTHER)
    assert (await items(late_to_know))[AT].value == "x"
    assert (await items(inner))["keyring"].etag == ring


async def test_two_who_open_a_new_place_at_once_have_one_ring(inner: MemoryDriver) -> None:
    class Slow(MemoryDriver):
        async def get(self, keys: Any, *, values: bool = True) -> list[Item | None]:
            found = await super().get(keys, values=values)
            await asyncio.sleep(0)
            return found

    async with Slow() as slow:
        drivers = await asyncio.gather(*(opened(slow, KEY) for _ in range(8)))
        for at, driver in enumerate(drivers):
            await driver.apply([Put(key(name("kv"), text(str(at))), str(at))])
        for driver in drivers:
            assert len(await items(driver)) == 8
        news = await asyncio.gather(*(opened(slow, OTHER, KEY) for _ in range(8)))
        for driver in news:
            assert driver.ring.locks == 2
            assert len(await items(driver)) == 8


@pytest.mark.parametrize(
    ("ring", "error"),
    [
        ("", CorruptDataError),
        ("{", CorruptDataError),
        ("{}", CorruptDataError),
        ('{"format":2,"salt":"","first":1,"closing":false,"locks":[],"retired":[]}', CorruptDataError),
        ('{"format":2,"salt":"%","first":1,"closing":false,"locks":["%"],"retired":[]}', CorruptDataError),
        ('{"format":2,"salt":"","first":1,"closing":false,"locks":["AAAA"],"retired":[]}', CorruptDataError),
        ('{"format":1}', FormatError),
        ('{"format":3}', FormatError),
    ],
)
async def test_a_ring_that_cannot_be_read(inner: MemoryDriver, ring: str, error: type[LimpetError]) -> None:
    await (await opened(inner, KEY)).apply([Put(AT, "x")])
    await inner.apply([Put("keyring", ring)])
    with pytest.raises(error, match="key ring"):
        await opened(inner, KEY)
    assert (await items(inner))["keyring"].value == ring


async def test_a_place_that_lost_its_ring(inner: MemoryDriver) -> None:
    await (await opened(inner, KEY)).apply([Put(AT, "x")])
    await inner.apply([Delete("keyring")])
    with pytest.raises(CorruptDataError, match="lost its key ring"):
        await opened(inner, KEY)
    assert "keyring" not in await items(inner)


def test_a_single_old_key_is_not_taken_apart() -> None:
    for wrong in (KEY.hex(), KEY, lambda: KEY):
        with pytest.raises(ConfigurationError, match="must be a list"):
            Encrypted(MemoryDriver(), key=KEY, old_keys=wrong)  # type: ignore[arg-type]


async def test_no_more_keys_are_brought_than_a_ring_holds(inner: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpet.wrappers.encryption._keyring._MOST_LOCKS", 3)
    keys = [bytes([n]) * 32 for n in range(4)]
    await (await opened(inner, keys[0])).apply([Put(AT, "x")])
    for n in (1, 2):
        await opened(inner, *keys[n::-1])
    with pytest.raises(WrongKeyError, match="finish it before"):
        await opened(inner, *keys[3::-1])
    assert (await items(await opened(inner, *keys[2::-1])))[AT].value == "x"
    await rotate(await opened(inner, *keys[2::-1]))
    await opened(inner, keys[3], keys[2])
