"""What encryption costs in calls: at most once a second, a read of one key without its value."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from limpet import create_persistence
from limpet.driver import Append, Check, Delete, MemoryDriver, Put, key, name, text
from limpet.opening import driver_from_url
from limpet.wrappers import Encrypted, encrypted
from limpet.wrappers.encryption import _ring_guard
from limpet_conformance.faults import counted

KEY = bytes(range(32))


async def test_a_write_is_proven_by_one_read_of_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 0.0)
    async with MemoryDriver() as memory, Encrypted(memory, key=KEY) as driver:
        head, log = key(name("head")), key(name("log"), name("n"))
        puts = [Put(key(name("kv"), text(str(n))), "x") for n in range(100)]
        with counted(memory) as counts:
            await driver.apply(puts)
            await driver.commit([[put] for put in puts])
            await driver.apply([Put(head, ""), Put(log, "0")])
            await driver.append(log, [Put(key(name("e")), "x")], Check(head))
            assert (counts.commits, counts.fetches, counts.keys) == (4, 4, 4)
            await driver.apply([Delete(head)])
            await driver.apply([])
            assert counts.fetches == 4, "what seals nothing needs no proof"
            await driver.commit([Append(log, (Put(key(name("e")), "x"),), Check(head))])
            assert counts.fetches == 4, "and what was refused neither"


async def test_the_writes_of_many_tasks_are_proven_together(tmp_path: Path) -> None:
    async with (
        driver_from_url(f"sqlite:///{tmp_path}/a.db") as driver,
        create_persistence(driver, wrappers=[encrypted(key=KEY)]) as persistence,
    ):
        store = persistence.kv(int, "n")
        await store.set("first", 0)
        with counted(driver) as counts:
            await asyncio.gather(*(store.set(str(n), n) for n in range(1000)))
        assert counts.commits <= 20
        assert counts.fetches <= 20
