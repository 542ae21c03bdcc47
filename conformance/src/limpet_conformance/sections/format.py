"""Clause 10, what stays: a database that is opened again contains what was written, in every detail."""

from __future__ import annotations

import asyncio

from limpet.driver import Check, Delete, Driver, Item, Put, key, name, new_etag, number, text

from .._requires import requires
from .._suite import Pair, Section
from ..machinery.awkward_keys import KEYS
from ..machinery.outcomes import refused
from ..machinery.reading import one, snapshot, walk
from .values import VALUES

__all__ = ["Format"]

F = name("formats")

FROZEN = {
    ("kv", "users", "@alice"): key(name("kv"), name("users"), text("alice")),
    ("kv", "users", "@a#20b"): key(name("kv"), name("users"), text("a b")),
    ("kv", "@#00#01#1f#21#22#23$"): key(name("kv"), text('\x00\x01\x1f!"#$')),
    ("kv", "@é😀"): key(name("kv"), text("é😀")),
    ("log", "0000000000000042"): key(name("log"), number(42)),
    ("kv", "@"): key(name("kv"), text("")),
    ("kv", "@" + "x" * 160 + '"hKBnjJCTf13PmZTVhmZo2m'): key(name("kv"), text("x" * 201)),
}
"""Encoded segments that databases contain, and the keys that they must continue to mean."""


class Format(Section):
    """What the first release fixed."""

    def _lasting(self) -> None:
        if not self.capabilities.shared and self.capabilities.durable == "no":
            self.not_declared("shared=True or durable='process' (the place ends with its driver)")

    async def test_everything_is_found_again(self, url: str) -> None:
        self._lasting()
        async with self.opened(url) as driver:
            puts = [Put(at, f"value of {at}") for at in KEYS]
            puts += [Put(key(F, number(at)), value) for at, value in enumerate(VALUES)]
            puts += [Put(key(F, name("expires")), "x", ttl_ms=3_600_000)]
            assert set(await driver.commit([[put] for put in puts])) == {None}
            before = await snapshot(driver)
        async with self.opened(url) as driver:
            after = await snapshot(driver)
            assert list(after) == list(before), "the keys or their order changed while nobody had the database open"
            for put in puts:
                item = after[put.key]
                assert type(item.value) is type(put.value)
                assert (item.value, item.etag) == (put.value, put.etag), f"{put.key!r} changed while nobody had it open"
                assert item.updated_at == before[put.key].updated_at, f"updated_at of {put.key!r} changed"
                assert (item.ttl_ms is None) == (put.ttl_ms is None), f"the expiry of {put.key!r} changed"
            await driver.apply([Check(puts[0].key, puts[0].etag)])
            await driver.apply([Put(puts[0].key, "new", puts[0].etag)])

    async def test_deleted_stays_deleted(self, url: str) -> None:
        self._lasting()
        keys = [key(F, number(at)) for at in range(20)]
        async with self.opened(url) as driver:
            for at in keys:
                await driver.apply([Put(at, "x")])
            for at in keys[::2]:
                await driver.apply([Delete(at)])
            await driver.clear(keys[1])
        async with self.opened(url) as driver:
            assert [item.key for item in await walk(driver)] == keys[1::2]

    async def test_time_goes_on_while_nobody_is_there(self, url: str) -> None:
        self._lasting()
        short, long = key(F, name("short")), key(F, name("long"))
        async with self.opened(url) as driver:
            await driver.apply([Put(short, "x", ttl_ms=50)])
            await driver.apply([Put(long, "x", ttl_ms=3_600_000)])
        await asyncio.sleep(0.06)
        async with self.opened(url) as driver:
            assert await one(driver, short) is None, "an item outlived its time while nobody had the database open"
            item = await one(driver, long)
            assert item is not None
            assert item.ttl_ms is not None
            assert 3_500_000 < item.ttl_ms <= 3_600_000 - 50, f"time stood still: {item.ttl_ms} ms are left"

    async def test_a_place_that_lasts_no_longer_than_its_driver(self, url: str) -> None:
        """Neither durable nor shared: what was written is gone, all of it."""
        if self.capabilities.shared or self.capabilities.durable != "no":
            async with self.opened(url) as driver:
                await driver.apply([Put(F, "x")])
            async with self.opened(url) as driver:
                assert await one(driver, F) is not None
            return
        async with self.opened(url) as driver, self.opened(url) as other:
            await driver.apply([Put(F, "x")])
            assert await walk(other) == [], "two drivers share items, and shared=True is not declared"
        async with self.opened(url) as driver:
            assert await walk(driver) == [], "items outlived their driver, and neither shared nor durable is declared"

    @requires(atomic="batch")
    async def test_a_log_goes_on_counting(self, url: str) -> None:
        self._lasting()
        head = Put(key(F, name("head")), "x")
        log, entries = key(F, name("n")), key(F, name("entries"))
        for turn in range(3):
            async with self.opened(url) as driver:
                if not turn:
                    await driver.apply([head])
                first = await driver.append(log, [Put(entries, "x"), Put(entries, "y")], Check(head.key, head.etag))
                assert first == 2 * turn

    async def test_the_encoding_of_keys_is_frozen(self, driver: Driver) -> None:
        for segments, encoded in FROZEN.items():
            assert "!".join(segments) == encoded, f"{encoded!r} is encoded in another way than {'!'.join(segments)!r}"
            await driver.apply([Put(encoded, "x")])
        assert {item.key for item in await walk(driver)} == set(FROZEN.values())
        for segments in FROZEN:
            assert await one(driver, "!".join(segments)) is not None

    async def test_the_shape_of_an_item_is_frozen(self, pair: Pair) -> None:
        writer, reader = pair
        await writer.apply([Put(key(F, name("plain")), "x")])
        await writer.apply([Put(key(F, name("timed")), b"x", ttl_ms=3_600_000)])
        conflict = await refused(writer, [Put(key(F, name("plain")), "x", new_etag())])
        items: list[Item | None] = [*await walk(reader), *conflict.items.values()]
        items += await reader.get([key(F, name("timed"))], values=False)
        assert len(items) == 4
        for item in items:
            assert type(item) is Item
            assert type(item.key) is str
            assert type(item.etag) is str
            assert type(item.value) in (str, bytes) or item is items[-1]
            assert type(item.updated_at) is int, f"updated_at is a {type(item.updated_at).__name__}"
            assert 1_577_836_800_000 < item.updated_at < 4_102_444_800_000, (
                "updated_at is not in milliseconds since 1970"
            )
            if item.key.endswith("timed"):
                assert type(item.ttl_ms) is int, f"ttl_ms is a {type(item.ttl_ms).__name__}"
            else:
                assert item.ttl_ms is None
