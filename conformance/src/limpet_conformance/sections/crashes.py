"""Clause 1 and kills: what was acknowledged is there after reopening, and no batch is half applied."""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import Any

import pytest
from limpet.driver import Check, Driver, Put, key, name, number

from .._requires import requires
from .._suite import Section
from ..machinery.processes import Job, working
from ..machinery.reading import one, walk
from ..machinery.seeds import seeded

__all__ = ["Crashes"]

BASE = key(name("crashes"), name("pairs"))


class Crashes(Section):
    """A process ends without warning."""

    @pytest.mark.processes
    async def test_who_forgets_to_close_does_not_hang(self, url: str) -> None:
        async with working(self, url, Job("forget")) as (worker,):
            ending = asyncio.create_task(worker.lines())
            within = min(20.0, self.patience / 2)
            done, _ = await asyncio.wait([ending], timeout=within)
            worker.kill()
            lines = await ending
            assert done, f"a process that forgot to close its driver did not end within {within} s"
            assert lines == ["written"]

    @pytest.mark.processes
    @requires(shared=True, durable="process")
    async def test_a_killed_writer_loses_nothing(self, url: str) -> None:
        random, seed = seeded()
        batches = self.capabilities.atomic == "batch"
        for turn in range(max(2, int(4 * self.effort))):
            base = key(BASE, number(turn))
            async with working(self, url, Job("keep_writing", base=base, size=60_000, batches=batches)) as (worker,):
                worker.go()
                await worker.begun()
                await asyncio.sleep(random.uniform(0.0, 0.2))
                worker.kill()
                acknowledged = await worker.lines()
            async with self.opened(url) as driver:
                await _check(driver, base, acknowledged, batches, f"kill {turn} of seed {seed}")
                put = Put(key(base, name("after")), "the database is still usable")
                await driver.apply([put])
                await driver.apply([Check(put.key, put.etag)])

    @pytest.mark.processes
    @requires(shared=True)
    async def test_a_killed_writer_holds_nobody_up(self, url: str) -> None:
        """The locks of a dead process are released."""
        base = key(BASE, number(0))
        async with self.opened(url) as driver:
            for _ in range(2):
                job = Job("keep_writing", base=base, size=60_000, batches=self.capabilities.atomic == "batch")
                async with working(self, url, job) as (worker,):
                    worker.go()
                    await worker.begun()
                    await asyncio.sleep(0.02)
                    worker.kill()
                    await worker.lines()
                    begun = monotonic()
                    await driver.apply([Put(key(name("crashes"), name("mine")), "x")])
                    waited = monotonic() - begun
                    assert waited < 10, f"a write waited {waited:.1f} s for a process that was killed"

    @pytest.mark.processes
    @requires(shared=True)
    async def test_a_fork_is_told_and_costs_its_parent_nothing(self, url: str) -> None:
        """Each verb raises `ForkedError` in the child, which may close; its parent does not notice."""
        if not hasattr(os, "fork"):
            self.not_declared("a fork: this system has none")
        base = key(BASE, name("forked"))
        async with working(self, url, Job("fork", base=base, times=20)) as (worker,):
            worker.go()
            met, acknowledged = await worker.result()
        told = {verb: what for verb, what in met if verb != "close"}
        assert len(told) == 6, f"in a forked child, a call hung after {met}"
        wrong = {verb: what for verb, what in told.items() if what != "ForkedError"}
        assert not wrong, f"in a forked child, calls raised something else than ForkedError: {wrong}"
        assert dict(met)["close"] == "nothing", f"in a forked child, close() raised {dict(met)['close']}"
        async with self.opened(url) as driver:
            there = {item.key for item in await walk(driver, base)}
            assert there == {key(base, number(at)) for at in acknowledged}, (
                "a fork lost writes, or the child's were kept"
            )


async def _check(driver: Driver, base: str, acknowledged: list[Any], batches: bool, when: str) -> None:
    assert acknowledged == list(range(len(acknowledged)))
    items = {item.key: item for item in await walk(driver, base)}
    last = await one(driver, key(base, number(10**9)))
    count = int(str(last.value)) + 1 if last is not None else 0
    assert count >= len(acknowledged), f"{when}: {len(acknowledged)} were acknowledged and {count} are there"
    assert count <= len(acknowledged) + 1, f"{when}: {count} are there and the writer was at {len(acknowledged)}"
    for at in range(max(0, count - 7) if batches else 0, len(acknowledged)):
        first, second = items.get(key(base, number(at))), items.get(key(base, number(at), number(0)))
        assert first is not None, f"{when}: {at} was acknowledged and is not there"
        assert second is not None, f"{when}: {at} was acknowledged and only half of it is there"
        assert first.value == second.value
    if batches:
        there = sorted(
            int(at.rpartition("!")[2])
            for at in items
            if at.startswith(base + "!") and at.count("!") == base.count("!") + 1 and int(at.rpartition("!")[2]) < 10**9
        )
        assert there == list(range(max(0, count - 7), count)), f"{when}: a batch is there by halves: {there} of {count}"
        pairs = sum(1 for at in items if at.count("!") == base.count("!") + 2)
        assert pairs == len(there), f"{when}: a batch is there by halves: {len(there)} and {pairs}"
