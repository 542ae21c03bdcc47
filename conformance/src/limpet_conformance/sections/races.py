"""Clause 1, batches are serializable: what many callers do at once has an order in which it could have been done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from time import monotonic
from typing import Any

import pytest
from limpet import ConflictError, OutcomeUnknownError
from limpet.driver import Check, Delete, Driver, Etag, If, Key, Put, Range, Write, key, name, new_etag, number, text

from .._requires import requires
from .._suite import Pair, Section
from ..machinery.history import Applied, Event, Looked, Refused, Unknown, explain
from ..machinery.model import Stored
from ..machinery.processes import Job, working
from ..machinery.reading import one, walk
from ..machinery.seeds import seeded

__all__ = ["Races"]

R = name("races")


async def _happened(driver: Driver, batch: Sequence[Write], pause: int) -> Event:
    for _ in range(pause):
        await asyncio.sleep(0)
    try:
        await driver.apply(batch)
    except ConflictError as conflict:
        return Refused(batch, conflict.keys, conflict.items)
    except OutcomeUnknownError:
        return Unknown(batch)
    return Applied(batch)


async def _looked(driver: Driver, base: Key, keys: list[Key], pause: int) -> Event:
    for _ in range(pause):
        await asyncio.sleep(0)
    if pause % 2:
        seen = {item.key: item for item in (await driver.scan(Range(base, limit=100, reverse=pause == 3))).items}
        return Looked({at: seen.get(at) for at in keys})
    return Looked(dict(zip(keys, await driver.get(keys), strict=True)))


def _choose(random: Random, keys: list[Key], before: dict[Key, Stored], single: bool) -> list[list[Write]]:
    """Return batches that are likely to conflict: few keys, and conditions on what exists or the others put."""
    known = [stored.etag for stored in before.values()] + [new_etag() for _ in range(6)]
    unused = known[len(before) :]
    batches: list[list[Write]] = []
    for _ in range(random.randint(3, 5)):
        batch: list[Write] = []
        for at in random.sample(keys, 1 if single else random.randint(1, len(keys))):
            cond: Any = random.choice(
                [If.PRESENT, before[at].etag if at in before else random.choice(known), random.choice(known)]
            )
            kind = random.random()
            if kind < 0.45 and unused:
                put_cond = random.choice([None, None, If.ABSENT, cond])
                batch.append(Put(at, str(len(batches)), put_cond, None, unused.pop()))
            elif kind < 0.8:
                batch.append(Delete(at, random.choice([None, None, cond])))
            else:
                batch.append(Check(at, cond))
        batches.append(batch)
    return batches


async def _longest_pause() -> float:
    """Return the longest pause of the event loop, in seconds, until this is cancelled."""
    longest, last = 0.0, monotonic()
    try:
        while True:
            await asyncio.sleep(0.002)
            longest, last = max(longest, monotonic() - last), monotonic()
    except asyncio.CancelledError:
        return longest


class Races(Section):
    """Many concurrent callers, on one driver and on two, in one process and in several."""

    async def test_random_batches_at_once_have_a_serial_order(self, pair: Pair) -> None:
        """Including refusals, unconditional deletes of absent keys, and reads in between."""
        random, seed = seeded()
        single = self.capabilities.atomic == "item"
        ends = monotonic() + 1.2 * self.effort
        for turn in range(int(150 * self.effort) + 10):
            if turn > 10 and monotonic() > ends:
                break
            base = key(R, number(turn))
            keys = [key(base, name(letter)) for letter in "abc"]
            puts = [Put(at, "before") for at in keys if random.random() < 0.6]
            for put in puts:
                await pair[0].apply([put])
            before = {put.key: Stored("before", put.etag) for put in puts}
            batches = _choose(random, keys, before, single)
            calls = [_happened(random.choice(pair), batch, random.randint(0, 3)) for batch in batches]
            if not single:
                calls += [_looked(random.choice(pair), base, keys, random.randint(0, 3)) for _ in range(2)]
            random.shuffle(calls)
            events = list(await asyncio.gather(*calls))
            after = {item.key: item for item in await pair[0].get(keys) if item is not None}
            assert explain(before, events, after) is not None, (
                f"no serial order explains round {turn} of seed {seed}.\nBefore: {before}\n"
                + "\n".join(map(str, events))
                + f"\nAfter: {after}"
            )

    async def test_no_update_is_lost(self, pair: Pair) -> None:
        at = key(R, name("counter"))
        await pair[0].apply([Put(at, "0")])

        async def work(driver: Driver) -> None:
            for _ in range(8):
                while True:
                    item = await one(driver, at)
                    assert item is not None
                    try:
                        await driver.apply([Put(at, str(int(str(item.value)) + 1), item.etag)])
                    except ConflictError:
                        await asyncio.sleep(0)
                    else:
                        break

        await asyncio.gather(*(work(pair[worker % 2]) for worker in range(6)))
        item = await one(pair[0], at)
        assert item is not None
        assert item.value == "48", f"48 updates under an etag left {item.value!r}"

    async def test_one_of_many_rivals_wins(self, pair: Pair) -> None:
        for turn in range(int(10 * self.effort) + 2):
            at = key(R, number(turn))
            there = Put(at, "there")
            for cond in (If.ABSENT, there.etag):
                puts = [Put(at, str(rival), cond) for rival in range(6)]
                events = await asyncio.gather(*(_happened(pair[rival % 2], [put], 0) for rival, put in enumerate(puts)))
                winners = [rival for rival, event in enumerate(events) if isinstance(event, Applied)]
                assert len(winners) == 1, f"{len(winners)} of 6 rivals won under {cond}"
                item = await one(pair[1], at)
                assert item is not None
                assert item.etag == puts[winners[0]].etag
                await pair[0].apply([there])

    @requires(atomic="batch")
    async def test_put_here_and_delete_there(self, pair: Pair) -> None:
        """`{Put a, Delete b}` and `{Put b, Delete a}` leave one of them, never both or none."""
        for turn in range(int(25 * self.effort) + 5):
            left, right = key(R, number(turn), name("a")), key(R, number(turn), name("b"))
            one_way: list[Write] = [Put(left, "1"), Delete(right)]
            other_way: list[Write] = [Put(right, "2"), Delete(left)]
            await asyncio.gather(pair[0].apply(one_way), pair[1].apply(other_way))
            there = [item.value for item in await pair[0].get([left, right]) if item is not None]
            assert len(there) == 1, f"in round {turn}, {there} are there and one of them must be"

    @requires(atomic="batch")
    async def test_no_write_skew(self, pair: Pair) -> None:
        """Two callers check each other's item before they delete their own: one of them must see it gone."""
        for turn in range(int(25 * self.effort) + 5):
            puts = [Put(key(R, number(turn), name(letter)), "x") for letter in "ab"]
            left, right = puts
            await pair[0].apply(puts)
            by_etag = turn % 2
            takes: list[list[Write]] = [
                [Check(left.key, left.etag if by_etag else If.PRESENT), Delete(right.key)],
                [Check(right.key, right.etag if by_etag else If.PRESENT), Delete(left.key)],
            ]
            events = await asyncio.gather(
                *(_happened(driver, take, 0) for driver, take in zip(pair, takes, strict=True))
            )
            assert sum(isinstance(event, Applied) for event in events) == 1, f"write skew in round {turn}: {events}"

    @requires(atomic="batch")
    async def test_what_is_checked_does_not_change_meanwhile(self, pair: Pair) -> None:
        """A put with a check, and a change to what is checked: never in the order check, change, put."""
        for turn in range(int(25 * self.effort) + 5):
            base = key(R, number(turn))
            rule = Put(key(base, name("rule")), "open")
            await pair[0].apply([rule])
            new_rule = Put(rule.key, "closed", rule.etag)
            entry = Put(key(base, name("entry")), "x", If.ABSENT)
            seen: list[Etag] = []

            async def close(new_rule: Put = new_rule, entry: Put = entry, seen: list[Etag] = seen) -> None:
                await pair[0].apply([new_rule])
                item = await one(pair[0], entry.key)
                seen += [item.etag] if item is not None else []

            enter: list[Write] = [Check(rule.key, rule.etag), entry]
            _, event = await asyncio.gather(close(), _happened(pair[1], enter, turn % 3))
            if isinstance(event, Applied):
                assert seen == [entry.etag], f"round {turn}: an entry came in after its rule had changed"

    @requires(atomic="batch")
    async def test_batches_are_seen_whole(self, pair: Pair) -> None:
        accounts = [key(R, text(owner)) for owner in ("alice", "bob", "carol", "dave")]
        await pair[0].apply([Put(at, "100") for at in accounts])
        busy = True

        async def move(worker: int) -> None:
            random = Random(worker)
            for _ in range(12):
                source, target = random.sample(accounts, 2)
                left, right = await pair[worker % 2].get([source, target])
                assert left is not None
                assert right is not None
                amount = random.randint(1, 5)
                batch = [
                    Put(source, str(int(str(left.value)) - amount), left.etag),
                    Put(target, str(int(str(right.value)) + amount), right.etag),
                ]
                await _happened(pair[worker % 2], batch, 0)

        async def count() -> None:
            while busy:
                items = (await pair[1].scan(Range(R))).items
                total = sum(int(str(item.value)) for item in items)
                assert total == 400, f"{total} where every batch leaves 400: {[item.value for item in items]}"
                total = sum(int(str(item.value)) for item in await pair[0].get(accounts) if item is not None)
                assert total == 400, f"a get() saw {total} where every batch leaves 400"
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await asyncio.gather(*map(move, range(5)))
        busy = False
        await counting

    @pytest.mark.processes
    @requires(shared=True)
    async def test_processes_lose_no_update(self, url: str) -> None:
        at = key(R, name("counter"))
        async with self.opened(url) as driver, working(self, url, *[Job("increment", at=at, times=25)] * 3) as workers:
            for worker in workers:
                worker.go()
            for worker in workers:
                assert await worker.result() == [25]
            item = await one(driver, at)
            assert item is not None
            assert item.value == "75", f"75 increments by three processes left {item.value!r}"

    @pytest.mark.processes
    @requires(shared=True, atomic="batch")
    async def test_processes_see_batches_whole_and_without_skew(self, url: str) -> None:
        accounts = [key(R, name("accounts"), number(at)) for at in range(6)]
        left, right = key(R, name("left")), key(R, name("right"))
        rounds = 60
        async with self.opened(url) as driver:
            await driver.apply([Put(at, "100") for at in accounts])
            await driver.apply([Put(key(side, number(turn)), "x") for side in (left, right) for turn in range(rounds)])
            turns = ({"mine": left, "other": right}, {"mine": right, "other": left})
            jobs = [
                Job("transfer_and_take_turns", accounts=accounts, times=25, step=step, rounds=rounds, **turn)
                for step, turn in zip((1, 5), turns, strict=True)
            ]
            async with working(self, url, *jobs) as workers:
                for worker in workers:
                    worker.go()
                results = asyncio.gather(*(worker.result() for worker in workers))
                while not results.done():
                    for items in (
                        (await driver.scan(Range(key(R, name("accounts"))))).items,
                        await driver.get(accounts),
                    ):
                        total = sum(int(str(item.value)) for item in items if item is not None)
                        assert total == 600, f"{total} where every batch of every process leaves 600"
                    await asyncio.sleep(0.005)
                (mine,), (others,) = await results
            both = set(mine) & set(others)
            assert not both, f"write skew between processes in the rounds {sorted(both)}"
            there = [item.key for item in [*await walk(driver, left), *await walk(driver, right)]]
            assert len(there) == rounds, f"of {rounds} pairs, {len(there)} halves are left"

    @requires(shared=True, atomic="batch")
    async def test_what_an_append_checks_holds_until_it_is_done(self, pair: Pair) -> None:
        """Someone who took over a log, with a new etag where its appends check, sees everything appended before."""
        one_driver, other = pair
        for turn in range(12):
            base = key(R, name("fenced"), number(turn))
            fence, log, entries = Put(key(base, name("fence")), ""), key(base, name("n")), key(base, name("e"))
            await one_driver.apply([fence, Put(log, "0")])

            async def take_over(turn: int, fence: Key, log: Key) -> str:
                await asyncio.sleep(0.002 * turn)
                await other.apply([Put(fence, "taken")])
                item = await one(other, log)
                assert item is not None
                return str(item.value)

            puts = [Put(entries, "x" * 8_000) for _ in range(60)]
            first, seen = await asyncio.gather(
                one_driver.append(log, puts, Check(fence.key, fence.etag)),
                take_over(turn, fence.key, log),
                return_exceptions=True,
            )
            if isinstance(seen, BaseException):
                raise seen
            if isinstance(first, BaseException) and not isinstance(first, ConflictError):
                raise first
            assert (first == 0) == (seen == "60"), (
                f"the new owner of a log saw the counter at {seen}, and the append of the old one answered {first!r}"
            )

    @requires(shared=True, atomic="batch")
    async def test_a_put_that_waited_is_not_born_expired(self, pair: Pair) -> None:
        """The time of a write is read when it has what it waited for."""
        one_driver, other = pair
        at = key(R, name("awaited"))
        lives = 150
        for cond in (None, If.PRESENT) * 3:
            await one_driver.apply([Put(at, "before")])
            many = [Put(key(at, number(n)), "x" * 4_000) for n in range(500)]
            lags = asyncio.create_task(_longest_pause())
            long = asyncio.create_task(one_driver.apply([Put(at, "long", If.PRESENT), *many]))
            ended: list[float] = []
            long.add_done_callback(lambda _: ended.append(monotonic()))  # noqa: B023 - done within this turn
            await asyncio.sleep(0.01)
            await other.apply([Put(at, "short", cond, lives)])
            item = await one(other, at)
            seen = monotonic()
            await long
            lags.cancel()
            # What it waited for had ended shortly before we were told. Unless this machine is busy, the put has at
            # least as long to live from then on, and some of that is left if the answer was not late.
            waited = (
                bool(ended) and (seen - ended[0]) * 1000 < lives - 100
            )  # otherwise the put was earlier, or this is late
            if await lags < 0.03 and waited:
                assert item is not None, f"a put to live {lives} ms had expired when it was answered"

    @requires(shared=True, atomic="batch")
    async def test_clear_beside_writers_leaves_nothing_that_was_there(self, pair: Pair) -> None:
        one_driver, other = pair
        base = key(R, name("cleared"))
        keys = [key(base, number(at)) for at in range(2_500)]
        for start in range(0, len(keys), 500):
            await one_driver.apply([Put(at, "old") for at in keys[start : start + 500]])
        stop = False

        async def write(first: int) -> None:
            turn = first
            while not stop:
                await other.apply([Put(keys[turn % 40], "new")])
                await asyncio.sleep(0)  # a driver need not wait for anything, and then others would get no turn
                turn += 7

        writers = [asyncio.create_task(write(first)) for first in range(4)]
        await asyncio.sleep(0.02)
        await one_driver.clear(base)
        stop = True
        await asyncio.gather(*writers)
        left = [item.key for item in await walk(one_driver, base) if item.key not in keys[:40]]
        assert not left, f"clear() ended, and {len(left)} items that nobody touched are still there"

    @pytest.mark.processes
    @requires(shared=True, atomic="batch")
    async def test_processes_append_without_gaps_or_doubles(self, url: str) -> None:
        log, entries = key(R, name("n")), key(R, name("entries"))
        head = Put(key(R, name("head")), "head")
        common = {"log": log, "entries": entries, "head": head.key, "etag": head.etag}
        jobs = [Job("append", values=[f"{worker}.{at}" for at in range(20)], **common) for worker in range(3)]
        async with self.opened(url) as driver:
            await driver.apply([head])
            async with working(self, url, *jobs) as workers:
                for worker in workers:
                    worker.go()
                results = asyncio.gather(*(worker.result() for worker in workers))
                while not results.done():
                    seen = [item.key for item in (await driver.scan(Range(entries, limit=1000, values=False))).items]
                    assert seen == [key(entries, number(at)) for at in range(len(seen))], "a log with a hole"
                    await asyncio.sleep(0.005)
                told = {at: value for lines in await results for at, value in lines}
            assert sorted(told) == list(range(60)), "numbers with gaps or doubles between processes"
            stored = {item.key: item.value for item in await walk(driver, entries)}
            assert stored == {key(entries, number(at)): value for at, value in told.items()}
