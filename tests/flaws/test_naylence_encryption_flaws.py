"""The flaws of Naylence's encryption that somebody reproduced.

As in `conftest`: each test runs on Limpet and on a small model of the old design, where it has to fail.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from limpet import ConfigurationError, CorruptDataError, LimpetError, WrongKeyError, create_persistence
from limpet.driver import Delete, Driver, MemoryDriver, Put
from limpet.driver.kit import scan_all, to_bytes
from limpet.wrappers import encrypted, rotate

OLD, NEW = "0123456789abcdef" * 4, "fedcba9876543210" * 4


class OldDesign:
    """AES-GCM on values alone, under the first 32 bytes of whatever text the key is."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], bytes] = {}

    def _cipher(self, key: str) -> AESGCM:
        return AESGCM(key.encode()[:32].ljust(32, b"\0"))

    async def set(self, key: str, namespace: str, at: str, value: str) -> None:
        nonce = os.urandom(12)
        self.rows[namespace, at] = nonce + self._cipher(key).encrypt(nonce, value.encode(), None)

    async def get(self, key: str, namespace: str, at: str) -> str | None:
        row = self.rows.get((namespace, at))
        return None if row is None else self._cipher(key).decrypt(row[:12], row[12:], None).decode()

    async def list(self, key: str, namespace: str) -> dict[str, str]:
        found = {}
        for of, at in self.rows:
            try:
                if of == namespace:
                    found[at] = await self.get(key, of, at) or ""
            except InvalidTag:
                continue
        return found

    async def move(self, namespace: str, source: str, target: str) -> None:
        self.rows[namespace, target] = self.rows[namespace, source]

    async def rotate(self, old: str, new: str) -> None:
        """There is no such thing."""

    async def dump(self) -> bytes:
        return b"".join(b"".join((namespace.encode(), at.encode(), row)) for (namespace, at), row in self.rows.items())


class NewDesign:
    """The same on Limpet: a place that is opened anew for each call, as by a process of its own."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    async def set(self, key: str, namespace: str, at: str, value: str) -> None:
        async with create_persistence(self.driver, wrappers=[encrypted(key=key)]) as persistence:
            await persistence.kv(str, namespace).set(at, value)

    async def get(self, key: str, namespace: str, at: str) -> str | None:
        async with create_persistence(self.driver, wrappers=[encrypted(key=key)]) as persistence:
            return await persistence.kv(str, namespace).get(at)

    async def list(self, key: str, namespace: str) -> dict[str, str]:
        async with create_persistence(self.driver, wrappers=[encrypted(key=key)]) as persistence:
            return dict(await persistence.kv(str, namespace).list())

    async def move(self, namespace: str, source: str, target: str) -> None:
        """Somebody with access to the database, who saw which row came when."""
        first, second = sorted([item async for item in scan_all(self.driver, "kv")], key=lambda item: item.updated_at)
        await self.driver.apply([Delete(second.key)])
        await self.driver.apply([Put(second.key, first.value or "", etag=first.etag)])

    async def rotate(self, old: str, new: str) -> None:
        async with create_persistence(self.driver, wrappers=[encrypted(key=new, old_keys=[old])]) as persistence:
            await rotate(persistence.driver)

    async def dump(self) -> bytes:
        items = [item async for item in scan_all(self.driver, "")]
        return b"".join(item.key.encode() + to_bytes(item.value or "") for item in items)


@pytest.fixture(
    params=[
        "new",
        pytest.param("old", marks=pytest.mark.xfail(strict=True, reason="the flaw of the old design")),
    ]
)
async def design(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "old":
        yield OldDesign()
        return
    async with MemoryDriver(clock=iter(range(10**12, 10**12 + 10**6)).__next__) as driver:
        yield NewDesign(driver)


async def test_keys_and_namespaces_are_not_readable(design: Any) -> None:
    await design.set(OLD, "patients", "ada@example.org", "diagnosis")
    found = await design.dump()
    assert not any(word in found for word in (b"patients", b"example.org", b"diagnosis"))


async def test_the_whole_key_counts(design: Any) -> None:
    """Of 64 hex characters the old design took the first 32: half of the key was ignored."""
    await design.set(OLD, "n", "k", "secret")
    with pytest.raises((InvalidTag, WrongKeyError)):
        await design.get(OLD[:32] + NEW[32:], "n", "k")


async def test_a_passphrase_is_no_key(design: Any) -> None:
    with pytest.raises(ConfigurationError):
        await design.set("short", "n", "k", "secret")


async def test_one_key_in_two_spellings_is_one_key(design: Any) -> None:
    await design.set(OLD, "n", "k", "secret")
    assert await design.get(urlsafe_b64encode(bytes.fromhex(OLD)).decode(), "n", "k") == "secret"


async def test_a_row_that_was_moved_is_noticed(design: Any) -> None:
    """Copying the row of `admin` to `guest` made an admin of the guest."""
    await design.set(OLD, "roles", "admin", "may do everything")
    await design.set(OLD, "roles", "guest", "may look")
    await design.move("roles", "admin", "guest")
    with pytest.raises(CorruptDataError):
        await design.get(OLD, "roles", "guest")


async def test_a_wrong_key_is_no_empty_list(design: Any) -> None:
    await design.set(OLD, "n", "k", "secret")
    with pytest.raises(WrongKeyError):
        await design.list(NEW, "n")


async def test_a_wrong_key_is_said_in_words(design: Any) -> None:
    await design.set(OLD, "n", "k", "secret")
    try:
        await design.get(NEW, "n", "k")
    except (InvalidTag, LimpetError) as error:
        said = str(error)
    assert "key" in said


async def test_a_key_can_be_changed(design: Any) -> None:
    await design.set(OLD, "n", "k", "secret")
    await design.rotate(OLD, NEW)
    assert (await design.list(NEW, "n")) == {"k": "secret"}
    with pytest.raises(WrongKeyError):
        await design.get(OLD, "n", "k")
