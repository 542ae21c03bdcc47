"""Clause 9, structures: collections, logs and leases keep their promises on this driver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import ExitStack
from random import Random

import pytest
from limpet import ConflictError, LeaseLostError, LeaseTimeoutError
from limpet.driver import Driver, Item, Put, key, name
from limpet.structures import Codec, Collection, Index, Lease, LeaseHandle, Log

from .._requires import requires
from .._suite import Pair, Section
from ..faults import can_inject, skewed, slowed
from ..machinery.reading import one

__all__ = ["Structures"]

Note = dict[str, str]
BASE = key(name("structures"), name("it"))


class _Json(Codec[Note]):
    def encode(self, document: Note) -> str:
        return json.dumps(document)

    def decode(self, item: Item) -> Note:
        found: Note = json.loads(str(item.value))
        return found

    def is_current(self, item: Item) -> bool:
        return True


def _notes(driver: Driver) -> Collection[Note]:
    return Collection(
        driver,
        "notes",
        _Json(),
        id_of=lambda note: note["id"],
        indexes=[Index("owner", lambda note: note.get("owner"))],
        created_at=lambda note: int(note["at"]),
    )


def _in_order(driver: Driver, notes: Iterable[Note]) -> list[Note]:
    """Newest first, ties by id; without `text_order`, ties come in any order, and are sorted here."""
    found = list(notes)
    tidy = sorted(found, key=lambda note: (int(note["at"]), note["id"]), reverse=True)
    moments = [note["at"] for note in found]
    assert driver.capabilities.text_order or moments == [note["at"] for note in tidy], "not newest first"
    return found if driver.capabilities.text_order else tidy


def _note(at: int, owner: str) -> Note:
    return {"id": f"n{at}", "owner": owner, "at": str(1_000 + at // 2)}  # two notes share each moment


class Structures(Section):
    """The next floor, on the tested driver."""

    @requires(atomic="batch")
    async def test_a_collection_finds_what_was_saved(self, pair: Pair) -> None:
        mine, others = map(_notes, pair)
        notes = [_note(at, owner) for at in range(20) for owner in [("alice", "bob", "Alice", "al")[at % 4]]]
        for note in notes:
            await mine.save(note)
        newest_first = sorted(notes, key=lambda note: (note["at"], note["id"]), reverse=True)
        assert _in_order(pair[1], await others.all()) == newest_first
        for owner in ("alice", "bob", "Alice", "al", "nobody"):
            wanted = [note for note in newest_first if note["owner"] == owner]
            assert _in_order(pair[1], await others.find("owner", owner)) == wanted, (
                f"notes found by the owner {owner!r}"
            )
        await others.update("n5", lambda note: note | {"owner": "alice"})
        await others.delete("n1")
        assert [note["id"] for note in await mine.find("owner", "bob")] == ["n17", "n13", "n9"]
        assert "n5" in [note["id"] for note in await mine.find("owner", "alice")]
        assert await mine.get("n1") is None

    @requires(atomic="batch")
    async def test_a_collection_is_listed_in_pages(self, driver: Driver) -> None:
        notes = _notes(driver)
        for at in range(23):
            await notes.save(_note(at, "alice"))
        seen: list[Note] = []
        cursor = None
        while True:
            page = await notes.find("owner", "alice", limit=5, cursor=cursor)
            seen += page
            cursor = page.cursor
            if cursor is None:
                break
        everything = [note async for note in notes.all()]
        assert _in_order(driver, seen) == _in_order(driver, everything)
        assert len({note["id"] for note in seen}) == 23

    @requires(atomic="batch")
    async def test_a_collections_indexes_are_never_stale(self, pair: Pair) -> None:
        both = [_notes(driver) for driver in pair]

        async def work(worker: int) -> None:
            random = Random(worker)
            for _ in range(8):
                notes, at = random.choice(both), random.randrange(5)
                owner = random.choice(["alice", "bob"])
                if random.random() < 0.2:
                    await notes.delete(f"n{at}")
                else:
                    await notes.save(_note(at, owner))

        await asyncio.gather(*map(work, range(5)))
        everything = list(await both[0].all())
        for owner in ("alice", "bob"):
            found = _in_order(pair[1], await both[1].find("owner", owner))
            assert found == _in_order(pair[1], [note for note in everything if note["owner"] == owner])
        report = await both[0].repair()
        assert (report.added, report.removed) == (0, 0), f"index entries had to be repaired: {report}"

    @requires(atomic="batch")
    async def test_updates_of_a_document_add_up(self, pair: Pair) -> None:
        both = [_notes(driver) for driver in pair]
        await both[0].save({"id": "counter", "at": "1", "count": "0"})

        async def work(worker: int) -> None:
            for _ in range(6):
                await both[worker % 2].update("counter", lambda note: note | {"count": str(int(note["count"]) + 1)})

        await asyncio.gather(*map(work, range(5)))
        note = await both[1].get("counter")
        assert note is not None
        assert note["count"] == "30", f"30 updates of a document left {note['count']}"

    @requires(atomic="batch")
    async def test_a_log_keeps_what_was_appended(self, pair: Pair) -> None:
        logs = [Log(driver, BASE) for driver in pair]
        await logs[0].create()
        told: dict[int, str] = {}

        async def work(worker: int) -> None:
            for turn in range(6):
                value = f"{worker}.{turn}"
                told[await logs[worker % 2].append(value)] = value

        await asyncio.gather(*map(work, range(6)))
        assert sorted(told) == list(range(36)), "numbers with gaps or doubles"
        entries = await logs[0].read()
        assert {entry.seq: entry.value for entry in entries} == told
        assert [entry.seq for entry in entries] == list(range(36))
        assert [entry.seq for entry in await logs[1].last(5)] == [31, 32, 33, 34, 35]
        assert [entry.seq for entry in await logs[1].read(after=3, before=9, reverse=True, limit=3)] == [8, 7, 6]
        assert await logs[1].count() == 36

    @requires(atomic="batch")
    async def test_a_log_that_is_cut_shows_nothing_of_it(self, pair: Pair) -> None:
        mine, other = (Log(driver, BASE) for driver in pair)
        await mine.create()
        await mine.append(*map(str, range(10)))
        assert [entry.seq for entry in await other.last(2)] == [8, 9]
        assert await mine.truncate(6) == 3
        assert [entry.value for entry in await other.read()] == [str(at) for at in range(7)]
        again = await other.append("again")
        assert again >= 10, f"number {again} was given out a second time"
        assert await other.trim(3) == 3
        assert [entry.value for entry in await mine.read()] == ["3", "4", "5", "6", "again"]
        assert await mine.count() == 5
        await mine.delete()
        assert await other.read() == []
        await other.create()
        assert await mine.read() == []
        assert await mine.append("new") > again

    @requires(atomic="batch")
    async def test_no_append_slips_through_a_cut(self, pair: Pair) -> None:
        """What was appended before the cut started is gone; what was appended after it ended is there."""
        mine, other = (Log(driver, BASE) for driver in pair)
        await mine.create()
        for turn in range(int(6 * self.effort) + 2):
            before = await other.append(f"before {turn}")
            with ExitStack() as slow:
                if can_inject(pair[turn % 2]):  # stretch the time between what one of them reads and writes
                    slow.enter_context(slowed(pair[turn % 2], seconds=0.005))
                _, racing = await asyncio.gather(mine.truncate(-1), other.append(f"racing {turn}"))
            after = await other.append(f"after {turn}")
            assert before < racing < after, f"a number was given out twice: {before}, {racing}, {after}"
            there = [entry.seq for entry in await mine.read()]
            assert before not in there, f"an append that had returned before the cut was left: {there}"
            assert there in ([after], [racing, after]), f"after the cut there are {there}"

    @requires(atomic="batch")
    async def test_one_holds_a_lease_at_a_time(self, pair: Pair) -> None:
        at = key(name("structures"), name("unprotected"))
        await pair[0].apply([Put(at, "0")])

        async def work(worker: int) -> None:
            driver = pair[worker % 2]
            lease = Lease(driver, BASE)
            for _ in range(3):
                handle = await _taken(lease)
                item = await one(driver, at)
                assert item is not None
                await asyncio.sleep(0)
                await driver.apply([Put(at, str(int(str(item.value)) + 1))])
                assert await lease.release(handle)

        await asyncio.gather(*map(work, range(4)))
        item = await one(pair[0], at)
        assert item is not None
        assert item.value == "12", f"two held the lease at once: 12 protected increments left {item.value!r}"

    @requires(atomic="batch")
    async def test_a_lease_ends_and_its_fence_keeps_the_last_owner_out(self, pair: Pair) -> None:
        mine, other = (Lease(driver, BASE) for driver in pair)
        at = key(name("structures"), name("protected"))
        first = await mine.acquire(ttl=0.3)
        await pair[0].apply([first.check, Put(at, "first")])
        with pytest.raises(LeaseTimeoutError):
            await other.acquire(ttl=0.3, timeout=0)
        await mine.renew(first)
        await pair[0].apply([first.check, Put(at, "first again")])
        second = await other.acquire(ttl=60, timeout=5)
        assert not first.left, "two trusted the lease at once"
        assert second.token > first.token
        with pytest.raises(ConflictError):
            await pair[0].apply([first.check, Put(at, "too late")])
        with pytest.raises(LeaseLostError):
            await mine.renew(first)
        assert not await mine.release(first)
        await pair[1].apply([second.check, Put(at, "second")])
        assert await other.release(second)
        third = await mine.acquire(ttl=60, timeout=0)
        assert third.token > second.token

    @requires(atomic="batch")
    @pytest.mark.parametrize("minutes", [-10, 10])
    async def test_a_lease_of_a_client_with_a_wrong_clock(self, pair: Pair, minutes: int) -> None:
        wrong, right = (Lease(driver, BASE) for driver in pair)
        with skewed(60.0 * minutes):
            handle = await wrong.acquire(ttl=60, timeout=0)
            assert 50 < handle.left <= 60
        with pytest.raises(LeaseTimeoutError):
            await right.acquire(ttl=60, timeout=0)
        with skewed(60.0 * minutes):
            await wrong.renew(handle)
            await wrong.release(handle)
        handle = await right.acquire(ttl=60, timeout=0)
        with skewed(60.0 * minutes), pytest.raises(LeaseTimeoutError):
            await wrong.acquire(ttl=60, timeout=0)


async def _taken(lease: Lease) -> LeaseHandle:
    """Acquire without the pauses between attempts, which are designed for longer use."""
    while True:
        try:
            return await lease.acquire(ttl=60, timeout=0)
        except LeaseTimeoutError:
            await asyncio.sleep(0.001)
