"""Clause 9, `append`: numbers without gaps or duplicates, and never n before n-1."""

from __future__ import annotations

import asyncio

import pytest
from limpet import (
    ConflictError,
    CorruptDataError,
    InvalidKeyError,
    InvalidValueError,
    LimpetError,
    UnsupportedError,
)
from limpet.driver import Append, Check, Delete, Driver, If, Put, Range, Write, key, name, new_etag, number
from limpet.driver.kit import append_by_compare_and_set

from .._requires import requires
from .._suite import Pair, Section
from ..faults import can_inject, counted
from ..machinery.outcomes import conflict_of
from ..machinery.reading import one, walk

__all__ = ["Appending"]

HEAD, LOG, ENTRIES = (key(name("appending"), name(part)) for part in ("head", "n", "entries"))
HOUR = 3_600_000


async def _begin(driver: Driver) -> Check:
    head = Put(HEAD, "head")
    await driver.apply([head])
    return Check(HEAD, head.etag)


async def _append(driver: Driver, check: Check, *values: str) -> int:
    return await driver.append(LOG, [Put(ENTRIES, value) for value in values], check)


class Appending(Section):
    """The verb below every log."""

    async def test_a_driver_of_single_items_refuses_it(self, driver: Driver) -> None:
        check = await _begin(driver)
        if self.capabilities.atomic == "batch":
            assert await _append(driver, check, "a") == 0
            return
        with pytest.raises(UnsupportedError):
            await _append(driver, check, "a")

    @requires(atomic="batch")
    async def test_numbers_follow_each_other_from_zero(self, driver: Driver) -> None:
        check = await _begin(driver)
        for at in range(12):
            assert await _append(driver, check, f"entry {at}") == at
        entries = await walk(driver, ENTRIES)
        assert [item.key for item in entries] == [key(ENTRIES, number(at)) for at in range(12)]
        assert [item.value for item in entries] == [f"entry {at}" for at in range(12)]
        counter = await one(driver, LOG)
        assert counter is not None
        assert counter.value == "12", f"the counter holds {counter.value!r} and not the next number"

    @requires(atomic="batch")
    async def test_several_at_once_keep_together(self, driver: Driver) -> None:
        check = await _begin(driver)
        puts = [[Put(ENTRIES, f"{count}.{at}") for at in range(count)] for count in (3, 1, 5)]
        assert [await driver.append(LOG, batch, check) for batch in puts] == [0, 3, 4]
        entries = await walk(driver, ENTRIES)
        flat = [put for batch in puts for put in batch]
        assert [(item.value, item.etag) for item in entries] == [(put.value, put.etag) for put in flat]
        assert len({item.updated_at for item in entries[4:]}) == 1

    @requires(atomic="batch")
    async def test_an_entry_is_what_was_put(self, driver: Driver) -> None:
        check = await _begin(driver)
        puts = [Put(ENTRIES, b"\x00\xff", ttl_ms=HOUR), Put(key(ENTRIES, name("other")), "")]
        assert await driver.append(LOG, puts, check) == 0
        first, second = await driver.get([key(ENTRIES, number(0)), key(ENTRIES, name("other"), number(1))])
        assert first is not None
        assert second is not None
        assert (first.value, first.etag) == (b"\x00\xff", puts[0].etag)
        assert first.ttl_ms is not None
        assert 0 < first.ttl_ms <= HOUR
        assert (second.value, second.etag, second.ttl_ms) == ("", puts[1].etag, None)

    @requires(atomic="batch")
    async def test_the_check_is_of_the_same_moment(self, pair: Pair) -> None:
        mine, other = pair
        check = await _begin(mine)
        await _append(mine, check, "a")
        await other.apply([Put(HEAD, "cut")])
        for wrong in (check, Check(HEAD, new_etag()), Check(key(name("nowhere")))):
            with pytest.raises(ConflictError) as caught:
                await _append(mine, wrong, "b")
            assert caught.value.keys == (wrong.key,), f"the conflict names {caught.value.keys} and not {wrong.key!r}"
        assert (item := caught.value.items.get(HEAD)) is None or item.value == "cut"
        await other.apply([Delete(HEAD)])
        with pytest.raises(ConflictError):
            await _append(mine, Check(HEAD), "b")
        assert len(await walk(mine, ENTRIES)) == 1, "an append that was refused left an entry"
        counter = await one(mine, LOG)
        assert counter is not None
        assert counter.value == "1", "an append that was refused used up a number"

    @requires(atomic="batch")
    async def test_the_counters_expiry_is_kept(self, driver: Driver) -> None:
        check = await _begin(driver)
        await driver.apply([Put(LOG, "7", ttl_ms=HOUR)])
        assert await _append(driver, check, "a", "b") == 7
        counter = await one(driver, LOG)
        assert counter is not None
        assert counter.value == "9"
        assert counter.ttl_ms is not None
        assert HOUR - 5_000 < counter.ttl_ms <= HOUR

    @requires(atomic="batch")
    async def test_the_counter_gets_a_new_etag(self, driver: Driver) -> None:
        """Truncating a log writes under the counter's etag, so that no append can come in between unnoticed."""
        check = await _begin(driver)
        seen = set()
        for _ in range(3):
            await _append(driver, check, "a")
            counter = await one(driver, LOG)
            assert counter is not None
            seen.add(counter.etag)
            assert len(counter.etag) == 22
        assert len(seen) == 3, "two appends left the counter with one etag"

    @requires(atomic="batch")
    @pytest.mark.parametrize(
        "value", ["", "x", "-1", "1.5", "٣", b"3"], ids=["empty", "word", "negative", "float", "arabic", "bytes"]
    )
    async def test_a_counter_that_is_no_number(self, driver: Driver, value: str) -> None:
        check = await _begin(driver)
        await driver.apply([Put(LOG, value)])
        with pytest.raises(CorruptDataError):
            await _append(driver, check, "a")
        assert await walk(driver, ENTRIES) == []

    @requires(atomic="batch")
    async def test_a_full_log(self, driver: Driver) -> None:
        check = await _begin(driver)
        await driver.apply([Put(LOG, str(10**16 - 2))])
        assert await _append(driver, check, "last") == 10**16 - 2
        with pytest.raises(LimpetError):
            await _append(driver, check, "one", "two")
        assert len(await walk(driver, ENTRIES)) == 1

    @requires(atomic="batch")
    async def test_what_cannot_be_appended(self, driver: Driver) -> None:
        check = await _begin(driver)
        with pytest.raises(InvalidValueError):
            await driver.append(LOG, [], check)
        with pytest.raises(InvalidValueError):
            await driver.append(LOG, [Put(ENTRIES, "x", If.ABSENT)], check)
        with pytest.raises(InvalidKeyError):
            await driver.append("Not A Key", [Put(ENTRIES, "x")], check)
        with pytest.raises(InvalidKeyError):
            await driver.append(LOG, [Put("Not A Key", "x")], check)
        with pytest.raises(InvalidValueError):
            await driver.append(LOG, [Put(ENTRIES, "\ud800")], check)
        assert await one(driver, LOG) is None

    @requires(atomic="batch")
    async def test_many_callers_get_numbers_without_gaps_or_doubles(self, pair: Pair) -> None:
        check = await _begin(pair[0])
        got: list[tuple[int, str]] = []

        async def work(worker: int) -> None:
            for turn in range(5):
                values = [f"{worker}.{turn}.{at}" for at in range(1 + turn % 2)]
                first = await _append(pair[worker % 2], check, *values)
                got.extend((first + at, value) for at, value in enumerate(values))

        await asyncio.gather(*map(work, range(8)))
        assert sorted(at for at, _ in got) == list(range(len(got))), "numbers with gaps or doubles"
        entries = {item.key: item.value for item in await walk(pair[0], ENTRIES)}
        assert entries == {key(ENTRIES, number(at)): value for at, value in got}, (
            "an entry is not where its writer was told"
        )

    @requires(atomic="batch")
    async def test_a_number_is_never_visible_before_the_one_before(self, pair: Pair) -> None:
        writer, reader = pair
        check = await _begin(writer)
        done = False

        async def write(worker: int) -> None:
            for turn in range(8):
                await _append(pair[worker % 2], check, *(["x"] * (1 + turn % 3)))

        async def watch() -> None:
            while not done:
                entries = [item.key for item in (await reader.scan(Range(ENTRIES, limit=1000, values=False))).items]
                assert entries == [key(ENTRIES, number(at)) for at in range(len(entries))], "a log with a hole"
                counter, last = await reader.get([LOG, key(ENTRIES, number(len(entries)))])
                if counter is not None and int(str(counter.value)) == len(entries):
                    assert last is None, "an entry stands at a number that was not given out"
                await asyncio.sleep(0)

        watcher = asyncio.create_task(watch())
        await asyncio.gather(*map(write, range(5)))
        done = True
        await watcher

    @requires(atomic="batch")
    async def test_native_and_default_agree(self, pair: Pair) -> None:
        """The verb, its default by compare-and-set, and `commit` share the numbering of one log."""
        check = await _begin(pair[0])
        for at in range(0, 12, 4):
            assert await _append(pair[0], check, "verb") == at
            unit = Append(LOG, (Put(ENTRIES, "default"),), check)
            assert await append_by_compare_and_set(pair[1], unit) == at + 1
            assert await pair[1].commit([Append(LOG, (Put(ENTRIES, "group"), Put(ENTRIES, "group")), check)]) == [
                at + 2
            ]
        values = [item.value for item in await walk(pair[0], ENTRIES)]
        assert values == ["verb", "default", "group", "group"] * 3
        bad = Check(key(name("nowhere")))
        for outcome in await pair[0].commit([Append(LOG, (Put(ENTRIES, "x"),), bad)]):
            assert conflict_of(outcome, "an append without its head").keys == (bad.key,)
        with pytest.raises(ConflictError) as caught:
            await append_by_compare_and_set(pair[0], Append(LOG, (Put(ENTRIES, "x"),), bad))
        assert caught.value.keys == (bad.key,)

    @requires(atomic="batch")
    async def test_who_assigns_the_numbers(self, driver: Driver) -> None:
        """With `append` declared, the backend is given appends; without it, they are compare-and-set."""
        if not can_inject(driver):
            self.not_declared("faults: the driver is not built on BaseDriver")
        check = await _begin(driver)
        with counted(driver) as counts:
            assert await _append(driver, check, "a") == 0
        wanted = 1 if self.capabilities.append else 0
        assert counts.appends == wanted, (
            f"append={self.capabilities.append}, and the backend was given {counts.appends} appends"
        )

    @requires(atomic="batch")
    async def test_a_cut_sees_every_append_before_it(self, pair: Pair) -> None:
        """A cut requires the counter's etag and the head's: of cut and append, one is refused or comes first."""
        check = await _begin(pair[0])
        await _append(pair[0], check, "x")
        for _ in range(int(10 * self.effort) + 2):
            head, counter = await pair[0].get([HEAD, LOG])
            assert head is not None
            assert counter is not None
            mine = Check(HEAD, head.etag)
            cut: list[Write] = [Put(HEAD, "cut", head.etag), Put(LOG, str(counter.value), counter.etag)]
            outcomes = await asyncio.gather(pair[0].apply(cut), _append(pair[1], mine, "x"), return_exceptions=True)
            refused = [isinstance(outcome, ConflictError) for outcome in outcomes]
            assert refused in ([True, False], [False, True]), f"cut and append: {outcomes}"
