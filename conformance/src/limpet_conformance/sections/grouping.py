"""Clause 8, grouping: units that are sent together stay independent, and so do their callers."""

from __future__ import annotations

import asyncio
from typing import Literal

from limpet import ConflictError, InvalidKeyError, InvalidValueError, TooLargeError
from limpet.driver import (
    Append,
    Check,
    Delete,
    Driver,
    Etag,
    If,
    Key,
    Put,
    Range,
    Unit,
    Write,
    key,
    name,
    new_etag,
    number,
)

from .._requires import requires
from .._suite import Pair, Section
from ..faults import can_inject, slowed
from ..machinery.history import Applied, Event, Refused, explain
from ..machinery.model import Stored
from ..machinery.outcomes import conflict_of
from ..machinery.reading import one, snapshot, walk

__all__ = ["Grouping"]

G = name("grouping")


def _at(place: int) -> Key:
    return key(G, number(place))


class Grouping(Section):
    """`commit`, and many concurrent callers."""

    async def test_nothing_to_do(self, driver: Driver) -> None:
        assert await driver.commit([]) == []
        assert await driver.commit([[], []]) == [None, None]

    async def test_each_unit_gets_its_own_outcome(self, driver: Driver) -> None:
        await driver.apply([Put(_at(0), "there")])
        for failing in range(7):
            units: list[Unit] = [[Put(_at(100 + place), f"{failing}")] for place in range(7)]
            units[failing] = [Put(_at(0), "x", If.ABSENT)]
            outcomes = await driver.commit(units)
            shown = [type(outcome).__name__ for outcome in outcomes]
            wanted = ["ConflictError" if place == failing else "NoneType" for place in range(7)]
            assert shown == wanted, f"the verdicts stand in the wrong places: {shown} for {wanted}"
            assert conflict_of(outcomes[failing], "the failing unit").keys == (_at(0),)
        item = await one(driver, _at(0))
        assert item is not None
        assert item.value == "there"

    async def test_a_failing_unit_fails_alone(self, driver: Driver) -> None:
        await driver.apply([Put(_at(1), "1")])
        outcomes = await driver.commit(
            [
                [Put(_at(0), "0")],
                [Put(_at(1), "x", If.ABSENT)],
                [Delete(_at(2), If.PRESENT)],
                [Put(_at(3), "3", If.ABSENT)],
            ]
        )
        assert [isinstance(outcome, ConflictError) for outcome in outcomes] == [False, True, True, False]
        values = {at: item.value for at, item in (await snapshot(driver)).items()}
        assert values == {_at(0): "0", _at(1): "1", _at(3): "3"}

    @requires(atomic="batch")
    async def test_a_failing_batch_leaves_nothing_of_itself(self, driver: Driver) -> None:
        batches: list[list[Write]] = [
            [Put(_at(0), "0"), Put(_at(1), "1")],
            [Put(_at(2), "2"), Put(_at(3), "3"), Check(_at(99))],
            [Check(_at(98), new_etag()), Put(_at(4), "4")],
            [Put(_at(5), "5"), Delete(_at(6))],
        ]
        outcomes = await driver.commit(batches)
        assert [isinstance(outcome, ConflictError) for outcome in outcomes] == [False, True, True, False]
        assert sorted(await snapshot(driver)) == [_at(0), _at(1), _at(5)]

    async def test_an_invalid_unit_fails_alone(self, driver: Driver) -> None:
        units: list[Unit] = [
            [Put(_at(0), "0")], [Put("Not A Key", "x")], [Put(_at(1), "\ud800")], [Put(_at(2), "2", ttl_ms=0)],
            [Put(_at(3), bytes(driver.capabilities.max_value_bytes + 1))], [Put(_at(4), "4")], [],
        ]  # fmt: skip
        outcomes = await driver.commit(units)
        kinds = [
            type(None),
            InvalidKeyError,
            InvalidValueError,
            InvalidValueError,
            TooLargeError,
            type(None),
            type(None),
        ]
        for place, (outcome, kind) in enumerate(zip(outcomes, kinds, strict=True)):
            assert isinstance(outcome, kind), f"unit {place}: {outcome!r} where {kind.__name__} belongs"
        assert sorted(await snapshot(driver)) == [_at(0), _at(4)]

    async def test_units_on_one_key_have_a_serial_order(self, driver: Driver) -> None:
        """Of rivals under one condition exactly one wins, whatever is sent together."""
        first = Put(_at(0), "first")
        await driver.apply([first])
        outcomes = await driver.commit([[Put(_at(0), str(rival), first.etag)] for rival in range(20)])
        winners = [rival for rival, outcome in enumerate(outcomes) if outcome is None]
        assert len(winners) == 1, f"{len(winners)} of 20 rivals for one etag won"
        item = await one(driver, _at(0))
        assert item is not None
        assert item.value == str(winners[0])
        outcomes = await driver.commit([[Put(_at(1), str(rival), If.ABSENT)] for rival in range(20)])
        winners = [rival for rival, outcome in enumerate(outcomes) if outcome is None]
        assert len(winners) == 1, f"{len(winners)} of 20 rivals for an absent key won"
        item = await one(driver, _at(1))
        assert item is not None
        assert item.value == str(winners[0])

    @requires(atomic="batch")
    async def test_a_group_has_a_serial_order(self, driver: Driver) -> None:
        there = Put(_at(0), "there")
        await driver.apply([there])
        batches: list[list[Write]] = [
            [Delete(_at(0), there.etag), Put(_at(1), "moved", If.ABSENT)],
            [Put(_at(0), "again", If.ABSENT)],
            [Check(_at(1)), Put(_at(2), "behind")],
            [Put(_at(0), "changed", there.etag)],
            [Delete(_at(1), If.PRESENT)],
            [Put(_at(2), "first", If.ABSENT)],
        ]
        events: list[Event] = []
        for batch, outcome in zip(batches, await driver.commit(batches), strict=True):
            if outcome is None:
                events.append(Applied(batch))
            else:
                conflict = conflict_of(outcome, str(batch))
                events.append(Refused(batch, conflict.keys, conflict.items))
        before = {_at(0): Stored("there", there.etag)}
        assert explain(before, events, await snapshot(driver)) is not None, f"no order explains {events}"

    async def test_a_thousand_puts_at_once(self, driver: Driver) -> None:
        outcomes = await driver.commit([[Put(_at(place), str(place))] for place in range(1000)])
        assert outcomes == [None] * 1000
        assert [item.value for item in await walk(driver, limit=1000)] == [str(place) for place in range(1000)]

    @requires(atomic="batch")
    async def test_a_group_beyond_one_batch(self, driver: Driver) -> None:
        """Together they exceed the limits of a batch, in writes and in bytes; separately, each unit may be sent."""
        units: list[Unit] = [[Put(key(G, number(unit), number(at)), "x") for at in range(400)] for unit in range(4)]
        units += [[Put(_at(50 + unit), b"x" * (3 * 1024 * 1024))] for unit in range(4)]
        assert await driver.commit(units) == [None] * 8
        assert len(await walk(driver, values=False, limit=1000)) == 1604

    @requires(atomic="batch")
    async def test_appends_in_a_group(self, driver: Driver) -> None:
        head, log, entries = key(G, name("head")), key(G, name("n")), key(G, name("entries"))
        await driver.apply([Put(head, "head")])
        units: list[Unit] = [
            Append(log, (Put(entries, "a"), Put(entries, "b")), Check(head)),
            [Put(_at(0), "0", If.PRESENT)],
            Append(log, (Put(entries, "c"),), Check(key(G, name("no-head")))),
            Append(log, (Put(entries, "c"),), Check(head)),
            [Put(_at(1), "1")],
        ]
        outcomes = await driver.commit(units)
        assert {outcomes[0], outcomes[3]} in ({0, 2}, {0, 1}), (
            f"the appends were numbered {outcomes[0]} and {outcomes[3]}"
        )
        assert isinstance(outcomes[1], ConflictError)
        assert isinstance(outcomes[2], ConflictError)
        assert outcomes[4] is None
        assert len(await walk(driver, entries)) == 3

    async def test_many_callers_at_once(self, pair: Pair) -> None:
        async def units(place: int) -> None:
            driver = pair[place % 2]
            await driver.apply([Put(_at(place), str(place), If.ABSENT)])
            item = await one(driver, _at(place))
            assert item is not None, "a caller does not see its own write"
            assert item.value == str(place), f"a caller was given {item.value!r}, which is another caller's"
            await driver.apply([Put(_at(place), f"{place} again", item.etag)])

        await asyncio.gather(*map(units, range(100)))
        values = [item.value for item in await walk(pair[0], limit=1000)]
        assert values == [f"{place} again" for place in range(100)]

    async def test_many_readers_at_once_get_their_own_answers(self, pair: Pair) -> None:
        await pair[0].commit([[Put(_at(place), str(place))] for place in range(60)])

        async def get(place: int) -> None:
            keys = [_at((place * step) % 60) for step in range(1, 1 + place % 4)] or [_at(place)]
            items = await pair[place % 2].get(keys)
            assert [item and item.key for item in items] == keys, "a reader was given the answer of another one"

        async def scan(place: int) -> None:
            page = await pair[place % 2].scan(Range(G, after=_at(place), limit=2))
            keys = [item.key for item in page.items]
            assert keys in ([], [_at(place + 1)], [_at(place + 1), _at(place + 2)]), "a reader was given another's page"

        await asyncio.gather(*map(get, range(60)), *map(scan, range(0, 57, 3)))

    async def test_cancelling_one_caller_leaves_its_neighbours(self, pair: Pair) -> None:
        """A cancelled caller's own outcome is unknown; everyone else's is not."""
        driver = pair[0]
        for round_ in range(6):
            base = 1000 * (round_ + 1)
            puts = [Put(_at(base + place), str(place), If.ABSENT) for place in range(20)]
            reads = [asyncio.create_task(driver.get([_at(base + place)])) for place in range(20)]
            tasks = [asyncio.create_task(driver.apply([put])) for put in puts]
            for _ in range(round_):
                await asyncio.sleep(0)
            for victim in (*tasks[::4], *reads[::4]):
                victim.cancel()
            outcomes = await asyncio.gather(*tasks, *reads, return_exceptions=True)
            for place, outcome in enumerate(outcomes):
                if place % 4 != 0:
                    assert not isinstance(outcome, BaseException), f"a neighbour of a cancelled call got {outcome!r}"
            written = await driver.get([put.key for put in puts])
            for place, (put, item) in enumerate(zip(puts, written, strict=True)):
                if place % 4 != 0:
                    assert item is not None, "a neighbour of a cancelled call was told that it wrote, and did not"
                    assert item.etag == put.etag
                elif item is not None:
                    assert item.etag == put.etag

    async def test_a_cancelled_call_costs_no_later_one(self, pair: Pair) -> None:
        """Whatever a cancelled call leaves open, what is acknowledged after it is visible to everyone."""
        first, second = pair
        single = self.capabilities.atomic == "item"
        await first.apply([Put(_at(1), "before")])
        for turn in range(int(40 * self.effort) + 10):
            batch = [Put(_at(1), str(turn), If.PRESENT)] + ([] if single else [Put(_at(2), str(turn))])
            call = asyncio.create_task(first.apply(batch))
            for _ in range(turn % 20):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            await first.apply([Put(_at(3), str(turn), If.ABSENT if turn == 0 else If.PRESENT)])
            left, right, later = (item and item.value for item in await second.get([_at(1), _at(2), _at(3)]))
            assert later == str(turn), f"a write that was acknowledged after a cancelled one is {later!r} elsewhere"
            assert single or left == right or {left, right} == {"before", None}, "half of a cancelled batch is there"

    async def test_cancelling_a_call_under_way_leaves_the_driver_usable(self, driver: Driver) -> None:
        if not can_inject(driver):
            self.not_declared("faults: the driver is not built on BaseDriver")
        moments: tuple[Literal["before", "after"], ...] = ("before", "after")
        for when in moments:
            with slowed(driver, seconds=0.1, when=when):
                neighbour = asyncio.create_task(driver.apply([Put(_at(1), when)]))
                victim = asyncio.create_task(driver.apply([Put(_at(2), when)]))
                await asyncio.sleep(0.005)
                victim.cancel()
                await asyncio.wait([neighbour, victim])
                assert victim.cancelled(), "a cancelled call swallowed its cancellation"
                assert not neighbour.cancelled(), "cancelling one call cancelled its neighbour"
                assert neighbour.exception() is None
            items = await driver.get([_at(1), _at(2)])
            assert items[0] is not None
            assert items[0].value == when
            await driver.apply([Put(_at(3), "still usable")])

    async def test_the_etag_of_a_group_is_each_writers_own(self, driver: Driver) -> None:
        wanted: dict[Key, Etag] = {}
        units: list[Unit] = []
        for place in range(50):
            put = Put(_at(place), "x")
            wanted[put.key] = put.etag
            units.append([put])
        await driver.commit(units)
        assert {item.key: item.etag for item in await driver.get(list(wanted)) if item} == wanted
