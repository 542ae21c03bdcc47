"""Compressed values: the whole suite on memory, what is stored, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from limpet import ConfigurationError, ConflictError, CorruptDataError, TooLargeError
from limpet.driver import Append, Check, Driver, MemoryDriver, Put, Range, key, name, number
from limpet.wrappers import Compressed, compressed
from limpet.wrappers._compressed import _zstd
from limpet_conformance import DriverConformance

A, B = key(name("a")), key(name("b"))
TEXT = "Limpet keeps what an agent must not lose. " * 50
MARK = b"\xf5z"


class PackingMemory(Compressed):
    """With the lowest threshold, so that much of what the suite writes is packed."""

    capabilities = Compressed(MemoryDriver()).capabilities


def packing(url: str) -> Driver:
    return PackingMemory(MemoryDriver.from_url(url), threshold=64)


@pytest.mark.again
class TestCompressedMemory(DriverConformance):
    factory = f"{__name__}:packing"
    capabilities = PackingMemory.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"


@pytest.fixture
async def inner() -> AsyncIterator[MemoryDriver]:
    async with MemoryDriver() as driver:
        yield driver


async def stored(inner: Driver, at: str = A) -> str | bytes:
    (item,) = await inner.get([at])
    assert item is not None
    assert item.value is not None
    return item.value


@pytest.mark.parametrize("value", [TEXT, TEXT.encode(), "é😀\0" * 200, bytes(100_000)])
async def test_large_values_shrink_and_come_back(inner: MemoryDriver, value: str | bytes) -> None:
    driver = Compressed(inner)
    await driver.apply([Put(A, value)])
    packed = await stored(inner)
    assert isinstance(packed, bytes)
    assert len(packed) < len(value) / 4
    assert await stored(driver) == value
    assert type(await stored(driver)) is type(value)


@pytest.mark.parametrize("value", ["short", TEXT[:511], b"\x00\xff" * 100, bytes(range(256)) * 2, ""])
async def test_what_is_small_or_does_not_shrink_stays_as_it_is(inner: MemoryDriver, value: str | bytes) -> None:
    driver = Compressed(inner, threshold=100_000 if len(value) == 512 else 512)
    await driver.apply([Put(A, value)])
    assert await stored(inner) == value
    assert await stored(driver) == value


@pytest.mark.parametrize("value", [MARK, MARK + b"p", MARK + b"t...", MARK + bytes(5000)])
async def test_bytes_that_look_packed_come_back(inner: MemoryDriver, value: bytes) -> None:
    driver = Compressed(inner)
    await driver.apply([Put(A, value)])
    assert await stored(inner) != value
    assert await stored(driver) == value


async def test_conflicts_carry_what_was_put(inner: MemoryDriver) -> None:
    driver = Compressed(inner)
    await driver.apply([Put(A, TEXT)])
    refused = [Put(A, TEXT, cond=Put(A, "").etag)]
    with pytest.raises(ConflictError) as caught:
        await driver.apply(refused)
    (outcome,) = await driver.commit([refused])
    for conflict in (caught.value, outcome):
        assert isinstance(conflict, ConflictError)
        item = conflict.items[A]
        assert item is not None
        assert item.value == TEXT


async def test_a_conflict_names_what_it_cannot_read(inner: MemoryDriver) -> None:
    await inner.apply([Put(A, MARK + b"?"), Put(B, "fine")])
    wrong = Put(A, "").etag
    with pytest.raises(ConflictError) as caught:
        await Compressed(inner).apply([Put(A, "x", wrong), Put(B, "x", wrong)])
    assert caught.value.keys == (A, B)
    assert set(caught.value.items) == {B}


async def test_appended_entries_are_packed_and_the_counter_is_not(inner: MemoryDriver) -> None:
    driver = Compressed(inner, threshold=64)
    entries = key(B, name("e"))
    await driver.apply([Put(A, "head"), Put(key(B, name("n")), "7")])
    unit = Append(key(B, name("n")), (Put(entries, TEXT), Put(entries, "x")), Check(A))
    assert await driver.append(unit.log, unit.puts, unit.check) == 7
    assert await driver.commit([unit]) == [9]
    assert await stored(inner, key(B, name("n"))) == "11"
    assert len(await stored(inner, key(entries, number(7)))) < 200
    assert [item.value for item in (await driver.scan(Range(entries))).items] == [TEXT, "x", TEXT, "x"]
    with pytest.raises(ConflictError) as caught:
        await driver.append(unit.log, unit.puts, Check(A, Put(A, "").etag))
    assert caught.value.keys == (A,)


async def test_a_page_stays_near_its_size_when_it_is_unpacked(inner: MemoryDriver) -> None:
    driver = Compressed(inner)
    large = "x" * (512 * 1024)
    keys = [key(B, number(at)) for at in range(10)]
    await driver.apply([Put(at, large) for at in keys])
    assert len((await inner.scan(Range(B))).items) == 10
    for reverse in (False, True):
        found: list[str] = []
        after: str | None = None
        while True:
            way = {"before": after} if reverse else {"after": after}
            page = await driver.scan(Range(B, **way, reverse=reverse))  # type: ignore[arg-type]
            assert len(page.items) <= 3
            found += [item.key for item in page.items]
            after = page.next
            if after is None:
                break
        assert found == (keys[::-1] if reverse else keys)
    assert len((await driver.scan(Range(B, values=False))).items) == 10


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "the end is missing": (lambda packed: packed[:-1], "does not have the 2100 bytes"),
    "half is missing": (lambda packed: packed[:20], "does not have the 2100 bytes"),
    "all but the marks is missing": (lambda packed: packed[:3], "cannot be decompressed"),
    "a mark is missing": (lambda packed: packed[:2], "its header is invalid"),
    "an unknown mark": (lambda packed: packed[:2] + b"?" + packed[3:], "its header is invalid"),
    "something behind it": (lambda packed: packed + b"more", "does not have the 2100 bytes"),
    "a flipped bit": (lambda packed: packed[:-1] + bytes([packed[-1] ^ 1]), "cannot be decompressed"),
    "no text": (lambda packed: MARK + b"t" + _zstd().compress(b"\xff" * 600), "utf-8"),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_value_is_an_error_that_names_the_key(inner: MemoryDriver, damage: str) -> None:
    done, message = DAMAGE[damage]
    driver = Compressed(inner)
    await driver.apply([Put(A, TEXT)])
    packed = await stored(inner)
    assert isinstance(packed, bytes)
    await inner.apply([Put(A, done(packed))])
    for read in (driver.get([A]), driver.scan(Range(""))):
        with pytest.raises(CorruptDataError, match=message) as caught:
            await read
        assert repr(A) in str(caught.value)


async def test_a_bomb_is_not_unpacked(inner: MemoryDriver) -> None:
    zstd = _zstd()
    honest = zstd.compress(bytes(257 * 1024 * 1024))
    growing = zstd.ZstdCompressor()
    unsized = growing.compress(bytes(1000)) + growing.flush()
    for bomb in (honest, unsized):
        assert len(bomb) < 100_000
        await inner.apply([Put(A, MARK + b"b" + bomb)])
        with pytest.raises(CorruptDataError, match="the maximum is"):
            await Compressed(inner).get([A])


async def test_limits_hold_for_what_does_not_shrink(inner: MemoryDriver) -> None:
    driver = Compressed(inner)
    most = driver.capabilities.max_value_bytes
    assert most == inner.capabilities.max_value_bytes - 3
    with pytest.raises(TooLargeError, match=f"takes {most}"):
        await driver.apply([Put(A, bytes(most + 1))])
    assert await driver.get([A]) == [None]


@pytest.mark.parametrize(
    "options", [{"level": 0}, {"level": 20}, {"level": True}, {"threshold": 63}, {"threshold": 1.5}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        compressed(**options)(MemoryDriver())


def test_without_zstandard_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"limpet\[compression\]"):
        Compressed(MemoryDriver())
