"""Clause 6, reading: acknowledged writes are visible, a read is one snapshot, and pages add up to the whole."""

from __future__ import annotations

import asyncio
from time import perf_counter

import pytest
from limpet import InvalidValueError
from limpet.driver import Delete, Driver, Key, Put, Range, Write, key, name, number, text

from .._requires import requires
from .._suite import Pair, Section
from ..machinery.reading import one, walk

__all__ = ["Reading"]

LIST = key(name("reading"), name("list"))
MANY = 1_300
"""More items than the maximum of a page, which is a thousand."""


def _at(place: int) -> Key:
    return key(LIST, number(place))


async def _write(driver: Driver, keys: list[Key], value: str = "x") -> None:
    for start in range(0, len(keys), 500):
        outcomes = await driver.commit([[Put(at, f"{value} {at}")] for at in keys[start : start + 500]])
        assert outcomes == [None] * len(outcomes)


class Reading(Section):
    """`get` and `scan`."""

    async def test_get_answers_in_the_order_asked(self, driver: Driver) -> None:
        await _write(driver, [_at(place) for place in range(10)])
        places = [7, 3, 99, 3, 0, 98, 9, 7]
        items = await driver.get([_at(place) for place in places])
        assert [item.key if item else None for item in items] == [_at(p) if p < 10 else None for p in places]
        assert [item.value if item else None for item in items] == [f"x {_at(p)}" if p < 10 else None for p in places]

    async def test_get_of_nothing(self, driver: Driver) -> None:
        assert await driver.get([]) == []
        assert await driver.get([_at(1), _at(2)]) == [None, None]
        assert (await driver.scan(Range(""))).items == [] or not (await driver.scan(Range(""))).items

    async def test_what_was_acknowledged_is_seen_by_everybody(self, pair: Pair) -> None:
        writer, reader = pair
        for place in range(30):
            put = Put(_at(0), str(place))
            await writer.apply([put])
            item = await one(reader, _at(0))
            assert item is not None
            assert item.value == str(place), f"another driver read {item.value!r} after {place!r} was acknowledged"
            (listed,) = (await reader.scan(Range(LIST))).items
            assert listed.value == str(place), (
                f"another driver listed {listed.value!r} after {place!r} was acknowledged"
            )
            writer, reader = reader, writer
        await writer.apply([Delete(_at(0))])
        assert await one(reader, _at(0)) is None
        assert await walk(reader) == []

    async def test_a_base_is_not_below_itself(self, driver: Driver) -> None:
        deep = key(LIST, number(1), name("x"), name("y"))
        await _write(driver, [LIST, _at(1), deep, key(name("reading")), key(name("reading"), name("list2"))])
        assert [item.key for item in await walk(driver, LIST)] == [_at(1), deep]
        assert [item.key for item in await walk(driver, _at(1))] == [deep]
        assert await walk(driver, deep) == []
        assert len(await walk(driver, "")) == 5

    async def test_bounds_are_exclusive_and_may_lie_outside(self, driver: Driver) -> None:
        keys = [_at(place) for place in range(1, 9)]
        low, high = key(name("a")), key(name("z"))
        await _write(driver, [low, key(name("b")), key(name("reading"), name("list0")), *keys, key(name("y")), high])
        bounds = [None, low, LIST, _at(0), *keys, _at(9), high, key(name("reading"), name("list0")), key(name("q"))]
        for after in bounds:
            for before in bounds:
                wanted = [at for at in keys if (after is None or at > after) and (before is None or at < before)]
                for reverse in (False, True):
                    got = [item.key for item in await walk(driver, LIST, after=after, before=before, reverse=reverse)]
                    assert got == (wanted[::-1] if reverse else wanted), (
                        f"after={after!r} before={before!r} reverse={reverse}"
                    )

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_pages_of_every_size_add_up(self, driver: Driver, reverse: bool) -> None:
        keys = [_at(place) for place in range(25)]
        await _write(driver, keys)
        wanted = keys[::-1] if reverse else keys
        for limit in (1, 2, 3, 5, 24, 25, 26, 100):
            got = [item.key for item in await walk(driver, LIST, limit=limit, reverse=reverse)]
            assert got == wanted, f"pages of {limit} give {len(got)} items, {len(set(got))} different, of 25"
            got = [
                item.key
                for item in await walk(driver, LIST, limit=limit, reverse=reverse, after=_at(4), before=_at(20))
            ]
            assert got == [at for at in wanted if _at(4) < at < _at(20)], f"pages of {limit} between two bounds"

    async def test_a_full_page_says_how_to_go_on(self, driver: Driver) -> None:
        await _write(driver, [_at(place) for place in range(10)])
        page = await driver.scan(Range(LIST, limit=4))
        assert page.next is not None, "a page of 4 of 10 says that it is the end"
        page = await driver.scan(Range(LIST, limit=4, reverse=True))
        assert page.next is not None, "a page of 4 of 10 in reverse says that it is the end"
        assert not (await driver.scan(Range(key(name("reading"), name("nothing")), limit=4))).items

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_more_items_than_any_page_holds(self, driver: Driver, reverse: bool) -> None:
        keys = [_at(place) for place in range(MANY)]
        await _write(driver, keys)
        for limit in (10_000, 999, 1000, 512):
            got = [item.key for item in await walk(driver, LIST, limit=limit, reverse=reverse, values=False)]
            assert len(got) == MANY, f"pages of {limit} give {len(got)} of {MANY} items"
            assert got == (keys[::-1] if reverse else keys)

    async def test_a_page_stops_near_a_mebibyte(self, driver: Driver) -> None:
        keys = [_at(place) for place in range(12)]
        for at in keys:
            await driver.apply([Put(at, "x" * 400_000)])
        for reverse in (False, True):
            page = await driver.scan(Range(LIST, reverse=reverse))
            size = sum(len(item.value or "") for item in page.items)
            assert size <= 2 * 1024 * 1024, f"a page of {size} bytes"
            assert page.items, "a large item never comes"
            got = [item.key for item in await walk(driver, LIST, reverse=reverse)]
            assert got == (keys[::-1] if reverse else keys), "an item was lost where a page was cut by its size"

    async def test_values_and_bare_keys_list_alike(self, driver: Driver) -> None:
        await _write(driver, [_at(place) for place in range(30)])
        full = [(item.key, item.etag, item.updated_at) for item in await walk(driver, limit=7)]
        bare = [(item.key, item.etag, item.updated_at) for item in await walk(driver, limit=7, values=False)]
        assert full == bare
        items = await driver.get([at for at, _, _ in full])
        assert [(item.key, item.etag, item.updated_at) for item in items if item] == full, "scan() and get() differ"

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_page_holds_at_least_one(self, driver: Driver, limit: int) -> None:
        with pytest.raises(InvalidValueError):
            await driver.scan(Range("", limit=limit))

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_paging_while_others_write(self, pair: Pair, reverse: bool) -> None:
        """An item that exists throughout is returned exactly once, any other at most once."""
        reader, writer = pair
        stay = [_at(10 * place) for place in range(60)]
        leave = [_at(10 * place + 5) for place in range(60)]
        await _write(writer, [*stay, *leave])
        seen: list[Key] = []
        bound: Key | None = None
        step = 0
        while True:
            page = await reader.scan(
                Range(
                    LIST, after=None if reverse else bound, before=bound if reverse else None, reverse=reverse, limit=7
                )
            )
            seen += [item.key for item in page.items]
            if page.next is None:
                break
            bound = page.next
            gone, new = leave[step % 60], [_at(10 * ((step * 13) % 60) + 2), _at(10 * ((step * 7) % 60) + 8)]
            touched = stay[(step * 11) % 60]
            step += 1
            outcomes = await writer.commit([[Delete(gone)], *([Put(at, "new")] for at in new), [Put(touched, "again")]])
            assert outcomes == [None] * 4
        assert len(seen) == len(set(seen)), f"an item came twice: {sorted(at for at in seen if seen.count(at) > 1)[:3]}"
        missing = set(stay) - set(seen)
        assert not missing, f"an item that was there throughout did not come: {sorted(missing)[:3]}"
        assert seen == sorted(seen, reverse=reverse)

    async def test_a_page_can_be_taken_up_behind_a_deleted_item(self, driver: Driver) -> None:
        await _write(driver, [_at(place) for place in range(6)])
        page = await driver.scan(Range(LIST, limit=3))
        assert page.next is not None
        await driver.apply([Delete(page.next)])
        rest = await walk(driver, LIST, after=page.next)
        assert [item.key for item in [*page.items, *rest]][-3:] == [_at(3), _at(4), _at(5)]

    @requires(atomic="batch")
    async def test_a_read_is_one_snapshot(self, pair: Pair) -> None:
        """Each batch moves all items to the next round; no `get` and no page may see two rounds."""
        writer, reader = pair
        keys = [_at(place) for place in range(20)]
        await writer.apply([Put(at, "0") for at in keys])
        done = False

        async def write() -> None:
            nonlocal done
            for value in range(1, int(60 * self.effort) + 10):
                await writer.apply([Put(at, str(value)) for at in keys])
                await asyncio.sleep(0)
            done = True

        async def get() -> None:
            while not done:
                rounds = {item.value if item else None for item in await reader.get(keys)}
                assert len(rounds) == 1, f"a get() saw half of a batch: {rounds}"
                await asyncio.sleep(0)

        async def scan() -> None:
            while not done:
                for reverse in (False, True):
                    items = (await reader.scan(Range(LIST, reverse=reverse))).items
                    rounds = {item.value for item in items}
                    assert len(rounds) == 1, f"a page saw half of a batch: {rounds}"
                    assert len(items) == 20, f"a page saw {len(items)} of 20 items"
                await asyncio.sleep(0)

        await asyncio.gather(write(), get(), scan())

    @requires(atomic="batch")
    async def test_an_item_that_moves_is_always_seen_once(self, pair: Pair) -> None:
        writer, reader = pair
        left, right = _at(0), key(LIST, text("somewhere else"))
        await writer.apply([Put(left, "the item")])
        done = False

        async def move() -> None:
            nonlocal done
            here, there = left, right
            for _ in range(int(50 * self.effort) + 10):
                batch: list[Write] = [Delete(here), Put(there, "the item")]
                await writer.apply(batch)
                here, there = there, here
                await asyncio.sleep(0)
            done = True

        async def look() -> None:
            while not done:
                got = [item for item in await reader.get([left, right]) if item is not None]
                assert len(got) == 1, f"a get() saw a moving item {len(got)} times"
                items = (await reader.scan(Range(LIST))).items
                assert len(items) == 1, f"a page saw a moving item {len(items)} times"
                await asyncio.sleep(0)

        await asyncio.gather(move(), look())

    @requires(seek=True)
    async def test_a_scan_enters_in_the_middle(self, driver: Driver) -> None:
        """With `seek`, the last items cost as much as the first, not as much as everything before them."""
        keys = [_at(place) for place in range(MANY)]
        await _write(driver, keys)

        async def least(**bounds: Key) -> float:
            times = []
            for _ in range(12):
                begun = perf_counter()
                await driver.scan(Range(LIST, limit=1, values=False, **bounds))  # type: ignore[arg-type]
                times.append(perf_counter() - begun)
            return min(times)

        first = await least()
        for bounds in ({"after": keys[-3]}, {"after": keys[MANY // 2], "before": keys[MANY // 2 + 2]}):
            middle = await least(**bounds)
            assert middle <= 12 * first + 0.001, (
                f"{middle * 1e6:.0f} µs in the middle, {first * 1e6:.0f} µs at the start"
            )

    async def test_a_driver_without_seek_reads_the_same(self, driver: Driver) -> None:
        """Whether declared or not, `after` in the middle returns what follows it."""
        keys = [_at(place) for place in range(300)]
        await _write(driver, keys)
        page = await driver.scan(Range(LIST, after=keys[149], limit=3))
        assert [item.key for item in page.items] in (keys[150:153], keys[150:152], keys[150:151], [])
        assert [item.key for item in await walk(driver, LIST, after=keys[149])] == keys[150:]
