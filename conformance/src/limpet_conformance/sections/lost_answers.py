"""Clause 1, lost answers: applied, refused and unknown are distinguished, and nothing is ever done twice.

The faults are injected below `BaseDriver`, so what a driver does about them is tested. A driver that is based on
`Driver` itself has its own seam, and its author's own tests of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from limpet import ConflictError, OutcomeUnknownError, UnavailableError
from limpet.driver import Append, Check, Delete, Driver, If, Outcome, Put, Range, Write, key, name, new_etag, number

from .._requires import requires
from .._suite import Pair, Section
from ..faults import Fault, can_inject, dropped, late, never_arrived, swallowed
from ..machinery.outcomes import refused
from ..machinery.reading import one, snapshot, walk

__all__ = ["LostAnswers"]

A, B, C = (key(name("lost"), name(letter)) for letter in "abc")
HEAD, LOG, ENTRIES = (key(name("lost"), name(part)) for part in ("head", "n", "entries"))


async def _told(driver: Driver, batch: Sequence[Write]) -> str:
    """Return in one word what the caller was told."""
    try:
        await driver.apply(batch)
    except ConflictError:
        return "refused"
    except OutcomeUnknownError:
        return "unknown"
    except UnavailableError:
        return "unavailable"
    return "applied"


def _met(fault: Fault) -> None:
    assert fault.fired, "the fault never met a call: the driver's verbs go past _commit, _fetch and _list"


class LostAnswers(Section):
    """What a caller is told when a connection fails."""

    def _injectable(self, driver: Driver) -> None:
        if not can_inject(driver):
            self.not_declared("faults: the driver is not built on BaseDriver")

    async def test_what_was_never_sent_is_unavailable(self, driver: Driver) -> None:
        self._injectable(driver)
        await driver.apply([Put(A, "before")])
        for batch in ([Put(A, "x")], [Put(B, "x", If.ABSENT)], [Delete(A)], [Check(A)]):
            with dropped(driver) as fault:
                told = await _told(driver, batch)
            _met(fault)
            assert told == "unavailable", f"{batch} was never sent, and the caller was told: {told}"
        assert {at: item.value for at, item in (await snapshot(driver)).items()} == {A: "before"}
        await driver.apply([Put(A, "after")])

    async def test_reads_that_fail_are_unavailable(self, driver: Driver) -> None:
        self._injectable(driver)
        await driver.apply([Put(A, "x")])
        with dropped(driver, "_fetch") as fault:
            with pytest.raises(UnavailableError):
                await driver.get([A])
            _met(fault)
        with swallowed(driver, "_list") as fault:
            with pytest.raises(UnavailableError):
                await driver.scan(Range(""))
            _met(fault)
        assert [item.key for item in await walk(driver)] == [A]

    async def test_a_put_whose_answer_was_lost_is_proved(self, driver: Driver) -> None:
        """It was applied, and its etag proves it: the caller is told that it was applied, or that it is unknown."""
        self._injectable(driver)
        there = Put(A, "there")
        await driver.apply([there])
        for put in (Put(B, "x"), Put(C, "x", If.ABSENT), Put(A, "x", there.etag)):
            with swallowed(driver) as fault:
                told = await _told(driver, [put])
            _met(fault)
            assert told == "applied", (
                f"{put} was applied, its etag is there to be read, and the caller was told: {told}"
            )
            item = await one(driver, put.key)
            assert item is not None
            assert (item.value, item.etag) == ("x", put.etag)

    async def test_what_may_have_happened_is_never_called_refused(self, pair: Pair) -> None:
        """Two increments of 5 must not give 8: mine, whose answer is lost, another caller's, and mine again."""
        mine, other = pair
        self._injectable(mine)
        five = Put(A, "5")
        await other.apply([five])
        six = Put(A, "6", five.etag)

        async def another() -> None:
            await other.apply([Put(A, "7", six.etag)])

        with swallowed(mine, then=another) as fault:
            told = await _told(mine, [six])
        _met(fault)
        assert told != "refused", (
            "an increment that happened was called refused: its caller does it again, and 5 becomes 8"
        )
        item = await one(other, A)
        assert item is not None
        assert item.value == "7", f"two increments of 5 gave {item.value!r}"

    async def test_a_condition_makes_sending_again_safe(self, pair: Pair) -> None:
        """It never arrived. Under an etag it can be sent again; without one, the outcome is unknown."""
        mine, other = pair
        self._injectable(mine)
        there = Put(A, "there")
        await other.apply([there])
        with never_arrived(mine) as fault:
            told = await _told(mine, [Put(A, "x", there.etag)])
        _met(fault)
        item = await one(other, A)
        assert item is not None
        assert (told, item.value) in (("applied", "x"), ("unknown", "there"), ("unknown", "x")), (
            f"told {told}, stored {item.value!r}"
        )

    async def test_what_cannot_be_proved_is_unknown(self, driver: Driver) -> None:
        self._injectable(driver)
        await driver.apply([Put(A, "there")])
        for batch in ([Put(A, "x")], [Put(B, "x", If.ABSENT)], [Delete(A)]):
            before = await snapshot(driver)
            with never_arrived(driver) as fault:
                told = await _told(driver, batch)
            _met(fault)
            if told == "applied":
                assert await snapshot(driver) != before, (
                    f"{batch} never arrived, and the caller was told that it was applied"
                )
            else:
                assert told == "unknown", f"{batch} was sent and lost, and the caller was told: {told}"

    async def test_a_lost_delete_is_not_claimed(self, pair: Pair) -> None:
        mine, other = pair
        self._injectable(mine)
        put = Put(A, "there")
        for cond in (None, put.etag, If.PRESENT):
            await other.apply([put])
            with swallowed(mine) as fault:
                told = await _told(mine, [Delete(A, cond)])
            _met(fault)
            assert told in ("applied", "unknown"), f"a delete that happened, and the caller was told: {told}"
            assert await one(other, A) is None

    async def test_an_unconditional_write_is_not_sent_again(self, pair: Pair) -> None:
        """Sending it again could undo what someone else did in between."""
        mine, other = pair
        self._injectable(mine)

        async def another() -> None:
            await other.apply([Put(A, "another's")])
            await other.apply([Put(B, "another's")])

        for write in (Put(A, "mine"), Delete(B)):
            await other.apply([Put(B, "before")])
            with swallowed(mine, then=another) as fault:
                told = await _told(mine, [write])
            _met(fault)
            assert told in ("applied", "unknown"), f"the caller of {write} was told: {told}"
            item = await one(other, write.key)
            assert item is not None, f"{write} was done a second time, after another's write"
            assert item.value == "another's", f"{write} was done a second time, after another's write"

    async def test_a_refusal_that_is_certain_stays_one(self, driver: Driver) -> None:
        """Nothing was sent before the refusal, so it stays a refusal even if later calls fail."""
        self._injectable(driver)
        await driver.apply([Put(A, "there")])
        conflict = await refused(driver, [Put(A, "x", If.ABSENT)])
        assert conflict.keys == (A,)
        with dropped(driver, "_fetch", times=100):
            conflict = await refused(driver, [Put(A, "x", new_etag())])
            assert conflict.keys == (A,)

    async def test_nothing_is_claimed_when_reading_back_fails_too(self, driver: Driver) -> None:
        self._injectable(driver)
        with swallowed(driver) as fault, dropped(driver, "_fetch", times=1000):
            told = await _told(driver, [Put(A, "x")])
        _met(fault)
        assert told == "unknown", f"nobody could read back, and the caller was told: {told}"
        item = await one(driver, A)
        assert item is not None
        assert item.value == "x"

    async def test_reading_back_is_tried_again(self, driver: Driver) -> None:
        self._injectable(driver)
        with swallowed(driver) as fault, dropped(driver, "_fetch", times=1):
            told = await _told(driver, [Put(A, "x")])
        _met(fault)
        assert told in ("applied", "unknown")
        assert await one(driver, A) is not None

    async def test_a_late_arrival_does_nothing_twice(self, pair: Pair) -> None:
        """The call is under way long after its caller was told something. Then it arrives."""
        mine, other = pair
        self._injectable(mine)
        five = Put(A, "5")
        await other.apply([five])
        put = Put(A, "6", five.etag)
        with late(mine) as fault:
            told = await _told(mine, [put])
            _met(fault)
            assert told in ("applied", "unknown"), f"a call on its way, and its caller was told: {told}"
            item = await one(other, A)
            assert item is not None
            if told == "applied":
                assert item.value == "6", "the caller was told that it was applied, and it is not"
            following = Put(A, "7", item.etag)
            await other.apply([following])
            await fault.arrive()
        item = await one(other, A)
        assert item is not None
        assert (item.value, item.etag) == ("7", following.etag), "a call that arrived late undid what came after"

    @requires(atomic="batch")
    async def test_a_batch_that_arrives_twice_happens_once(self, pair: Pair) -> None:
        mine, other = pair
        self._injectable(mine)
        five = Put(A, "5")
        await other.apply([five, Put(B, "there")])
        batch: list[Write] = [Put(A, "6", five.etag), Delete(B), Put(C, "new")]
        with late(mine) as fault:
            told = await _told(mine, batch)
            _met(fault)
            assert told in ("applied", "unknown")
            if told == "applied":
                await other.apply([Put(B, "another's"), Delete(C)])
            await fault.arrive()
        values = {at: item.value for at, item in (await snapshot(other)).items()}
        wanted = {A: "6", B: "another's"} if told == "applied" else {A: "6", C: "new"}
        assert values == wanted, f"a batch that arrived twice was done twice: {values}"

    @requires(atomic="batch")
    async def test_one_etag_proves_the_whole_batch(self, pair: Pair) -> None:
        mine, other = pair
        self._injectable(mine)
        batch: list[Write] = [Put(A, "1"), Put(B, "2"), Delete(C)]

        async def another() -> None:
            await other.apply([Put(A, "another's"), Put(C, "another's")])

        with swallowed(mine, then=another) as fault:
            told = await _told(mine, batch)
        _met(fault)
        assert told == "applied", f"the etag at {B!r} proves the batch, and the caller was told: {told}"
        values = {at: item.value for at, item in (await snapshot(other)).items()}
        assert values == {A: "another's", B: "2", C: "another's"}, f"the batch was done twice: {values}"

    async def test_each_unit_of_a_lost_group_is_told_apart(self, driver: Driver) -> None:
        self._injectable(driver)
        there = Put(A, "there")
        await driver.apply([there])
        units: list[list[Write]] = [
            [Put(B, "x")],
            [Put(A, "x", If.ABSENT)],
            [Put(C, "x", If.ABSENT)],
            [Check(A, there.etag)],
        ]
        with swallowed(driver) as fault:
            outcomes = await driver.commit(units)
        _met(fault)
        assert outcomes[0] is None, f"a put that happened and can be proved: {outcomes[0]!r}"
        assert isinstance(outcomes[1], OutcomeUnknownError | ConflictError), f"a put that was refused: {outcomes[1]!r}"
        assert outcomes[2] is None, f"a put that happened and can be proved: {outcomes[2]!r}"
        assert outcomes[3] is None or isinstance(outcomes[3], OutcomeUnknownError)
        values = {at: item.value for at, item in (await snapshot(driver)).items()}
        assert values == {A: "there", B: "x", C: "x"}

    @requires(atomic="batch")
    @pytest.mark.parametrize("how", ["swallowed", "never_arrived", "late"])
    async def test_a_lost_append_is_not_sent_again(self, driver: Driver, how: str) -> None:
        """It is found by its etag at the end of the log, or unknown; it is never in the log twice."""
        self._injectable(driver)
        head = Put(HEAD, "head")
        await driver.apply([head])
        check = Check(HEAD, head.etag)
        await driver.append(LOG, [Put(ENTRIES, "first")], check)
        puts = [Put(ENTRIES, "mine"), Put(ENTRIES, "mine too")]
        number_told: int | None = None
        with {"swallowed": swallowed, "never_arrived": never_arrived, "late": late}[how](driver) as fault:
            try:
                number_told = await driver.append(LOG, puts, check)
            except OutcomeUnknownError:
                number_told = None
            _met(fault)
            if isinstance(fault, Fault) and hasattr(fault, "arrive"):
                await fault.arrive()
        entries = await walk(driver, ENTRIES)
        mine = [item for item in entries if item.etag == puts[0].etag]
        assert len(mine) <= 1, f"a lost append stands in the log {len(mine)} times"
        assert [item.key for item in entries] == [key(ENTRIES, number(at)) for at in range(len(entries))], (
            "a hole in the log"
        )
        assert len(entries) in (1, 3), f"an append of two left {len(entries) - 1} entries"
        if number_told is not None:
            assert mine, "an append was told its number and is not there"
            assert mine[0].key == key(ENTRIES, number(number_told)), "an append was told another number than it got"
        if how == "swallowed":
            assert number_told == 1, (
                "an append that happened can be found by its etag, and its caller was told: unknown"
            )
        assert await driver.append(LOG, [Put(ENTRIES, "last")], check) == len(entries)

    @requires(atomic="batch")
    async def test_a_lost_append_among_others_is_found(self, pair: Pair) -> None:
        mine, other = pair
        self._injectable(mine)
        head = Put(HEAD, "head")
        await mine.apply([head])
        check = Check(HEAD, head.etag)

        async def append() -> None:
            for at in range(5):
                await other.append(LOG, [Put(ENTRIES, f"another's {at}")], check)

        others: list[asyncio.Task[None]] = []

        async def then() -> None:
            """the same driver may let appends to one log take turns: then they come after"""
            others.append(asyncio.create_task(append()))
            await asyncio.wait(others, timeout=1 if mine is other else None)

        with swallowed(mine, then=then) as fault:
            outcomes: list[Outcome] = await mine.commit([Append(LOG, (Put(ENTRIES, "mine"),), check)])
        _met(fault)
        await asyncio.gather(*others)
        values = [item.value for item in await walk(other, ENTRIES)]
        assert values.count("mine") == 1, f"a lost append stands in the log {values.count('mine')} times"
        assert len(values) == 6
        assert outcomes == [0] or isinstance(outcomes[0], OutcomeUnknownError), f"the append was told {outcomes}"

    async def test_the_driver_is_usable_after_a_lost_answer(self, driver: Driver) -> None:
        self._injectable(driver)
        for fault in (dropped, swallowed, never_arrived):
            with fault(driver):
                await _told(driver, [Put(A, "x")])
            put = Put(B, fault.__name__)
            await driver.apply([put])
            item = await one(driver, B)
            assert item is not None
            assert item.etag == put.etag

    async def test_cancelled_while_an_answer_is_lost(self, driver: Driver) -> None:
        """The cancelled caller is told so, and nothing happens twice."""
        self._injectable(driver)
        there = Put(A, "5")
        await driver.apply([there])
        put = Put(A, "6", there.etag)
        happened = asyncio.Event()

        async def then() -> None:
            happened.set()

        with swallowed(driver, then=then), dropped(driver, "_fetch", times=1000):
            call = asyncio.create_task(driver.apply([put]))
            await happened.wait()
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
        assert call.cancelled() or isinstance(call.exception(), OutcomeUnknownError | None), f"{call.exception()!r}"
        item = await one(driver, A)
        assert item is not None
        assert item.etag == put.etag
