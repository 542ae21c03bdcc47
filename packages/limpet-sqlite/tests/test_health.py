"""The health of a database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from limpet.driver import Put
from limpet.driver.kit import host_now_ms
from limpet_drivers.sqlite import SqliteDriver, _health


async def test_a_sound_file_names_its_facts_and_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path) as driver:
        await driver.apply([Put("kv!@a", "v")])
        health = await driver.health()
    assert (health.server, health.version, health.problems) == ("SQLite", sqlite3.sqlite_version, ())
    assert health.clock_ms is not None
    assert abs(health.clock_ms - host_now_ms()) < 60_000
    assert health.details["path"] == str(path)
    assert health.details["journal_mode"] == "wal"
    assert health.details["durability"] == "disk"
    assert health.details["check"] == "ok"
    assert int(health.details["bytes"]) >= 4096
    assert int(health.details["log_bytes"]) > 0


async def test_memory_has_no_file() -> None:
    async with SqliteDriver(":memory:") as driver:
        health = await driver.health()
    assert health.problems == ()
    assert health.details == {"journal_mode": "memory", "durability": "no", "check": "ok"}


async def test_a_long_check_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        await driver.apply([Put(f"kv!@{n}", "x" * 100) for n in range(5000)])
        monkeypatch.setattr(_health, "_CHECK_SECONDS", 0)
        health = await driver.health()
    assert health.details["check"].startswith("not finished")
    assert health.problems == ()


async def test_a_log_that_cannot_shrink_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_health, "_LARGE_LOG", 100_000)
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        await driver.apply([Put("kv!@a", "x" * 200_000)])
        (problem,) = (await driver.health()).problems
    assert "find and end it" in problem
