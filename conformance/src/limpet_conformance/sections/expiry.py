"""Clause 3, time: the backend's clock decides about expiry, to the millisecond, for reads and conditions alike."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from limpet import ConflictError, InvalidValueError
from limpet.driver import KEEP, Check, Delete, Driver, If, Item, Put, Range, Write, key, name, new_etag, number
from limpet.driver.kit import backend_now_ms

from .._requires import requires
from .._suite import Pair, Section
from ..faults import skewed
from ..machinery.outcomes import refused
from ..machinery.reading import one, walk

__all__ = ["Expiry"]

A, B, C = (key(name("expiry"), name(letter)) for letter in "abc")
HOUR = 3_600_000
MINUTES = 600.0
SHORT = 40
"""Milliseconds to live in tests that wait for the end."""


async def _over() -> None:
    """Wait until an item that was put before with `SHORT` to live has expired."""
    await asyncio.sleep(SHORT / 1000 + 0.005)


class Expiry(Section):
    """How items expire."""

    async def test_an_item_lives_to_the_millisecond(self, driver: Driver) -> None:
        """Visible until its time is over, to get and scan alike, and not a millisecond longer."""
        for lives in (*[1] * 12, 30, 110):
            sent = monotonic()
            await driver.apply([Put(A, "x", ttl_ms=lives)])
            answered = monotonic()
            while True:
                asked = monotonic()
                item = await one(driver, A)
                listed = await walk(driver)
                seen = monotonic()
                # The time of the put is between `sent` and `answered`; a clock of whole milliseconds may differ by 1.
                if (seen - sent) * 1000 < lives - 2:
                    assert item is not None, f"gone {(seen - sent) * 1000:.1f} ms after a put of {lives} ms"
                    assert listed, f"not listed {(seen - sent) * 1000:.1f} ms after a put of {lives} ms"
                if item is not None and item.ttl_ms is not None:
                    longest = lives - (asked - answered) * 1000 + 2
                    assert 1 <= item.ttl_ms <= max(1, longest), f"{item.ttl_ms} ms left, and {longest:.1f} at most are"
                elif item is not None:
                    raise AssertionError("an item that expires says that it does not")
                if (asked - answered) * 1000 >= lives + 0.1:
                    assert item is None, f"there {(asked - answered) * 1000:.1f} ms after a put of {lives} ms"
                    assert not listed, f"listed {(asked - answered) * 1000:.1f} ms after a put of {lives} ms"
                    break
                if (monotonic() - answered) * 1000 < lives - 10:
                    await asyncio.sleep(0.002)

    async def test_the_time_left_runs_down(self, driver: Driver) -> None:
        await driver.apply([Put(A, "x", ttl_ms=HOUR)])
        first = await one(driver, A)
        await asyncio.sleep(0.02)
        second = await one(driver, A)
        assert first is not None
        assert second is not None
        assert first.ttl_ms is not None
        assert second.ttl_ms is not None
        assert HOUR - 5_000 < first.ttl_ms <= HOUR, f"of an hour, {first.ttl_ms} ms are left at once"
        assert first.ttl_ms - 2_000 < second.ttl_ms <= first.ttl_ms - 10, f"{first.ttl_ms} ms, then {second.ttl_ms}"
        for item in [*await walk(driver), *await walk(driver, values=False), *await driver.get([A], values=False)]:
            assert item is not None
            assert item.ttl_ms is not None
            assert second.ttl_ms - 5_000 < item.ttl_ms <= second.ttl_ms

    async def test_an_expired_item_is_absent_for_conditions(self, driver: Driver) -> None:
        puts = {letter: Put(letter, "old", ttl_ms=SHORT) for letter in (A, B, C)}
        for put in puts.values():
            await driver.apply([put])
        await _over()
        doomed: list[Write] = [
            Put(A, "x", If.PRESENT), Put(A, "x", puts[A].etag), Delete(B, If.PRESENT), Delete(B, puts[B].etag),
            Check(C), Check(C, puts[C].etag),
        ]  # fmt: skip
        for write in doomed:
            conflict = await refused(driver, [write])
            assert conflict.keys == (write.key,)
            assert conflict.items.get(write.key) is None, "the conflict carries an expired item"
        await driver.apply([Delete(B)])
        await driver.apply([Put(A, "new", If.ABSENT)])
        item = await one(driver, A)
        assert item is not None
        assert (item.value, item.ttl_ms) == ("new", None)

    @requires(atomic="batch")
    async def test_an_expired_item_is_absent_in_a_batch(self, driver: Driver) -> None:
        await driver.apply([Put(A, "old", ttl_ms=SHORT), Put(B, "stays")])
        await _over()
        conflict = await refused(driver, [Check(A), Put(B, "x")])
        assert conflict.keys == (A,)
        await driver.apply([Put(A, "new", If.ABSENT), Check(B), Delete(C)])
        assert [item.value for item in await walk(driver)] == ["new", "stays"]

    async def test_an_expired_item_is_not_read(self, driver: Driver) -> None:
        for at, keep in enumerate([False, True, False, False, True, False]):
            await driver.apply([Put(key(A, number(at)), str(at), ttl_ms=HOUR if keep else SHORT)])
        await _over()
        assert [item is not None for item in await driver.get([key(A, number(at)) for at in range(6)])] == [
            False, True, False, False, True, False,
        ]  # fmt: skip
        for limit in (1, 2, 100):
            for reverse in (False, True):
                listed = [item.value for item in await walk(driver, A, limit=limit, reverse=reverse)]
                assert sorted(map(str, listed)) == ["1", "4"], f"limit={limit} reverse={reverse}: {listed}"
        assert await driver.clear("") == 2, "clear() counted expired items"

    async def test_a_plain_put_takes_the_expiry_away(self, driver: Driver) -> None:
        await driver.apply([Put(A, "1", ttl_ms=SHORT)])
        await driver.apply([Put(A, "2")])
        item = await one(driver, A)
        assert item is not None
        assert item.ttl_ms is None, "a plain put kept the expiry of the item before"
        await _over()
        assert await one(driver, A) is not None, "the item ended with the expiry of the one before"
        assert len(await walk(driver)) == 1

    async def test_a_put_replaces_the_expiry(self, driver: Driver) -> None:
        await driver.apply([Put(A, "1", ttl_ms=SHORT)])
        await driver.apply([Put(A, "2", ttl_ms=HOUR)])
        await driver.apply([Put(B, "1", ttl_ms=HOUR)])
        await driver.apply([Put(B, "2", ttl_ms=SHORT)])
        await _over()
        longer, shorter = await driver.get([A, B])
        assert longer is not None, "the item ended with the shorter expiry of the one before"
        assert shorter is None, "the item lives on with the longer expiry of the one before"

    async def test_keep_keeps_the_expiry(self, driver: Driver) -> None:
        await driver.apply([Put(B, "1")])
        while True:
            sent = monotonic()
            await driver.apply([Put(A, "1", ttl_ms=300)])
            await driver.apply([Put(A, "2", ttl_ms=KEEP)])
            item = await one(driver, A)
            if (monotonic() - sent) * 1000 < 290:  # otherwise it may have expired, with nothing to KEEP
                break
        assert item is not None
        assert (item.value, item.ttl_ms is not None) == ("2", True), f"after KEEP, it has {item.ttl_ms} ms left"
        for at in (B, C):
            await driver.apply([Put(at, "2", ttl_ms=KEEP)])
            item = await one(driver, at)
            assert item is not None
            assert (item.value, item.ttl_ms) == ("2", None), f"after KEEP, {at!r} has {item.ttl_ms} ms left"
        await asyncio.sleep(0.305)
        assert [item is not None for item in await driver.get([A, B, C])] == [False, True, True]

    async def test_keep_does_not_stretch_the_expiry(self, driver: Driver) -> None:
        sent = monotonic()
        await driver.apply([Put(A, "0", ttl_ms=100)])
        answered = monotonic()
        while (monotonic() - answered) * 1000 < 85:
            try:
                await driver.apply([Put(A, "again", If.PRESENT, KEEP)])
            except ConflictError:  # the put was applied at some time between `sent` and `answered`
                assert (monotonic() - sent) * 1000 > 97, "an item ended before its time"
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.03)
        assert await one(driver, A) is None, "writing with KEEP again and again made the item live longer"

    async def test_keep_of_an_expired_item_keeps_nothing(self, driver: Driver) -> None:
        await driver.apply([Put(A, "1", ttl_ms=SHORT)])
        await _over()
        await driver.apply([Put(A, "2", ttl_ms=KEEP)])
        item = await one(driver, A)
        assert item is not None, "KEEP kept the expiry of an item that was gone"
        assert (item.value, item.ttl_ms) == ("2", None)

    @requires(atomic="batch")
    async def test_what_was_put_in_one_batch_expires_at_one_instant(self, driver: Driver) -> None:
        """A `get` and a page use one "now" for everything: they see all of a batch, or nothing of it."""
        keys = [key(A, number(at)) for at in range(400)]
        for lives in (60, 90, 120):
            await driver.apply([Put(at, "x", ttl_ms=lives) for at in keys])
            for turn in range(10_000):
                if turn % 2:
                    seen = sum(item is not None for item in await driver.get(keys, values=False))
                else:
                    page = await driver.scan(Range(A, limit=1000, values=False))
                    if page.next is not None:  # a page can be short
                        continue
                    seen = len(page.items)
                assert seen in (0, len(keys)), f"{seen} of the {len(keys)} items of one batch were seen"
                if not seen:
                    break

    async def test_a_refused_write_leaves_the_expiry(self, driver: Driver) -> None:
        await driver.apply([Put(A, "1", ttl_ms=HOUR)])
        await driver.apply([Put(B, "1")])
        await refused(driver, [Put(A, "2", If.ABSENT)])
        await refused(driver, [Put(B, "2", new_etag(), SHORT)])
        first, second = await driver.get([A, B])
        assert first is not None
        assert second is not None
        assert first.ttl_ms is not None
        assert second.ttl_ms is None

    @pytest.mark.parametrize("ttl", [0, -1, True, 1.5, "100"])
    async def test_a_time_to_live_is_at_least_a_millisecond(self, driver: Driver, ttl: int) -> None:
        with pytest.raises(InvalidValueError):
            await driver.apply([Put(A, "x", ttl_ms=ttl)])
        (outcome,) = await driver.commit([[Put(A, "x", ttl_ms=ttl)]])
        assert isinstance(outcome, InvalidValueError)
        assert await one(driver, A) is None

    async def test_a_long_time_to_live(self, driver: Driver) -> None:
        century = 100 * 365 * 24 * HOUR
        await driver.apply([Put(A, "x", ttl_ms=century)])
        item = await one(driver, A)
        assert item is not None
        assert item.ttl_ms is not None
        assert century - 5_000 < item.ttl_ms <= century

    async def test_purge_frees_what_nothing_sees(self, driver: Driver) -> None:
        for at in range(20):
            await driver.apply([Put(key(A, number(at)), "x", ttl_ms=SHORT if at % 2 else HOUR)])
        await driver.apply([Put(B, "stays")])
        await _over()
        assert 0 <= await driver.purge() <= 10
        assert await driver.purge() == 0, "a second purge freed something again"
        assert len(await walk(driver)) == 11

    @pytest.mark.parametrize("minutes", [-10, 10])
    async def test_a_client_with_a_wrong_clock(self, pair: Pair, minutes: int) -> None:
        """The caller's clock decides nothing: neither when an item was written nor when it expires."""
        wrong, right = pair
        clock = (await _written(right, C)).updated_at
        with skewed(60.0 * minutes):
            await wrong.apply([Put(A, "x", ttl_ms=60_000)])
            await wrong.apply([Put(B, "x", ttl_ms=SHORT)])
            seen = await one(wrong, A)
            assert seen is not None, "an item was born expired"
            left = seen.ttl_ms
            assert left is not None
            assert 50_000 < left <= 60_000, f"{left} ms of 60,000 are left at once"
        item = await one(right, A)
        assert item is not None, "an item was born expired"
        assert item.ttl_ms is not None
        assert 50_000 < item.ttl_ms <= 60_000, f"{item.ttl_ms} ms of 60,000 are left at once"
        assert abs(item.updated_at - clock) < 30_000, "updated_at is the client's clock and not the backend's"
        await right.apply([Put(C, "x", ttl_ms=60_000)])
        await _over()
        with skewed(60.0 * minutes):
            assert await one(wrong, B) is None, "an expired item is seen by a client with a wrong clock"
            assert [item.key for item in await walk(wrong)] == [A, C]
            await wrong.apply([Put(B, "new", If.ABSENT)])
            await wrong.apply([Check(C)])
            await wrong.apply([Put(C, "kept", If.PRESENT, KEEP)])
        item = await one(right, C)
        assert item is not None
        assert item.ttl_ms is not None
        assert 50_000 < item.ttl_ms <= 60_000, f"KEEP under a wrong clock left {item.ttl_ms} ms of 60,000"

    async def test_updated_at_is_the_backends_clock(self, driver: Driver) -> None:
        first = await _written(driver, A)
        await asyncio.sleep(0.02)
        second = await _written(driver, A)
        assert 10 <= second.updated_at - first.updated_at < 5_000, (
            f"two puts 20 ms apart were updated {second.updated_at - first.updated_at} ms apart"
        )
        clock = await backend_now_ms(driver)
        assert -10 <= clock - second.updated_at < 5_000, "health() tells another clock than updated_at"


async def _written(driver: Driver, at: str) -> Item:
    await driver.apply([Put(at, "x")])
    item = await one(driver, at)
    assert item is not None
    return item
