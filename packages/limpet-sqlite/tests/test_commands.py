"""What is sent: the one-statement path beside the judge's, bulk writes, the freeing of expired items."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limpet.driver import KEEP, Append, Check, Etag, If, Outcome, Put, Range, Unit
from limpet.driver.kit import host_now_ms
from limpet_drivers.sqlite import SqliteDriver, _commands
from limpet_drivers.sqlite._layout import migrate

Row = tuple[str, str | bytes, str, int, int | None]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with_tables = sqlite3.connect(":memory:", isolation_level=None)
    migrate(with_tables, "the database")
    yield with_tables
    with_tables.close()


def rows(connection: sqlite3.Connection) -> list[Row]:
    found: list[Row] = connection.execute("SELECT * FROM items ORDER BY key").fetchall()
    return found


def commit(connection: sqlite3.Connection, unit: Unit, now: int, *, evaluated: bool) -> Outcome:
    expiry = _commands.Expiry()
    if not evaluated:
        expiry._next = now + 1  # a write that has nothing to free
    assert expiry.due(now) is evaluated
    (outcome,) = _commands.commit(connection, [unit], "the database", expiry)
    return outcome


NOW = 1_000_000
ETAGS = [Etag(letter * 22) for letter in "ab"]
PUTS = st.builds(
    Put,
    key=st.just("kv!@a"),
    value=st.sampled_from(["text", b"bytes", "\0", ""]),
    ttl_ms=st.sampled_from([None, 1, 10_000]),
    etag=st.sampled_from(ETAGS),
)


@given(puts=st.lists(st.tuples(PUTS, st.integers(0, 5)), min_size=1, max_size=6))
def test_one_statement_does_what_the_judge_says(puts: list[tuple[Put, int]]) -> None:
    """Own etags met again, items that have just expired, times to live: both paths leave the same rows."""
    left: list[list[Row]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_commands, "_FREED_PER_WRITE", 0)  # an expired item has to be there to matter
        for evaluated in (True, False):
            now = NOW
            connection = sqlite3.connect(":memory:", isolation_level=None)
            migrate(connection, "the database")
            seen: list[Row] = []
            for put, pause in puts:
                now += pause
                patch.setattr(_commands, "host_now_ms", lambda now=now: now)
                assert commit(connection, [put], now, evaluated=evaluated) is None
                seen += rows(connection)
            connection.close()
            left.append(seen)
    assert left[0] == left[1]


@pytest.mark.parametrize(
    "put",
    [
        Put("kv!@a", "v", If.ABSENT),
        Put("kv!@a", "v", If.PRESENT),
        Put("kv!@a", "v", Etag("a" * 22)),
        Put("kv!@a", "v", ttl_ms=KEEP),
    ],
    ids=["absent", "present", "etag", "keep"],
)
def test_whatever_has_to_be_read_first_goes_to_the_judge(put: Put) -> None:
    assert _commands._plain_put([put]) is None
    assert _commands._plain_put([Put("kv!@a", "v"), put]) is None
    assert _commands._plain_put([Put("kv!@a", "v")]) is not None


HEADS = (None, ("a", None), ("a", NOW), ("a", NOW + 1), ("b", None))
COUNTERS = (
    None,
    *((value, expires) for value in ("0", "41", "007") for expires in (None, NOW, NOW + 1)),
    *((value, None) for value in ("9" * 15, "9" * 16, "", "-1", "1.5", " 1", "٣", b"1", "none")),
)
ENTRY = Put("log!e!0000000000000001", "entry", etag=ETAGS[0])
ENTRIES = ((ENTRY,), (replace(ENTRY, value=b"\0", ttl_ms=5),), (ENTRY, replace(ENTRY, etag=ETAGS[1])))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("cond", [If.PRESENT, *ETAGS])
def test_an_append_that_is_not_judged_does_what_the_judge_says(
    head: tuple[str, int | None] | None, cond: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads and counters that are missing, expired, of another etag or no number: same verdict, same rows."""
    monkeypatch.setattr(_commands, "host_now_ms", lambda: NOW)
    monkeypatch.setattr(_commands, "_FREED_PER_WRITE", 0)
    for counter, puts in product(COUNTERS, ENTRIES):
        left: list[object] = []
        for evaluated in (True, False):
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                migrate(connection, "the database")
                if head:
                    connection.execute("INSERT INTO items VALUES ('log', '', ?, 1, ?)", (head[0] * 22, head[1]))
                if counter:
                    connection.execute("INSERT INTO items VALUES ('log!n', ?, '', 1, ?)", counter)
                outcome = commit(connection, Append("log!n", puts, Check("log", cond)), NOW, evaluated=evaluated)
                found = [row for row in rows(connection) if row[0] != "log!n"]
                counted = connection.execute("SELECT value, updated_at, expires_at FROM items WHERE key = 'log!n'")
                left.append((outcome if isinstance(outcome, int) else type(outcome), found, counted.fetchall()))
        assert left[0] == left[1], (counter, puts)


async def test_a_lone_append_is_two_statements_in_a_transaction(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        head = Put("log", "")
        await driver.apply([head, Put("log!n", "7")])
        assert driver._client is not None
        assert driver._client._writing is not None
        sent: list[str] = []
        driver._client._writing.set_trace_callback(sent.append)
        assert await driver.append("log!n", [Put("log!e", "v")], Check("log", head.etag)) == 7
        assert [statement.split()[0] for statement in sent] == ["BEGIN", "UPDATE", "INSERT", "COMMIT"]


async def test_a_lone_put_reads_nothing_and_a_thousand_are_one_transaction(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        await driver.apply([Put("kv!@first", "v")])
        assert driver._client is not None
        assert driver._client._writing is not None
        sent: list[str] = []
        driver._client._writing.set_trace_callback(sent.append)
        await driver.apply([Put("kv!@a", "v")])
        assert [statement.split()[0] for statement in sent] == ["BEGIN", "INSERT", "COMMIT"]
        sent.clear()
        assert await driver.commit([[Put(f"kv!@{n}", "v")] for n in range(1000)]) == [None] * 1000
        verbs = [statement.split()[0] for statement in sent]
        assert verbs.count("BEGIN") == verbs.count("COMMIT") == 1
        assert len(verbs) <= 25, "many rows in each statement"
        assert len((await driver.scan(Range("kv", limit=1000))).items) == 1000


async def test_expired_items_are_freed_by_the_writes_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        now = host_now_ms()
        await driver.apply([Put(f"kv!@short{n:03}", "v", ttl_ms=5) for n in range(100)])
        await driver.apply([Put("kv!@long", "v", ttl_ms=3_600_000), Put("kv!@ever", "v")])
        monkeypatch.setattr(_commands, "host_now_ms", lambda: now + 60_000)
        assert driver._client is not None
        counted = []
        for n in range(10):
            await driver.apply([Put("kv!@ever", str(n))])
            counted.append(await driver._client.read(lambda c: c.execute("SELECT count(*) FROM items").fetchone()[0]))
        assert counted[0] == 102 - 16, "a few each, so that no write pays for all"
        assert counted[-1] == 2
        assert [item.key for item in (await driver.scan(Range("kv"))).items] == ["kv!@ever", "kv!@long"]


def test_a_clock_that_is_set_back_stops_no_freeing() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "the database")
    expiry = _commands.Expiry()
    expiry.free(connection, 1_000_000)
    assert not expiry.due(1_000_001)
    assert expiry.due(1_001_000)
    assert expiry.due(900_000)
    connection.close()


async def test_purge_frees_all_that_expired_and_clear_counts_what_lived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        now = host_now_ms()
        await driver.apply([Put(f"kv!@short{n:04}", "v", ttl_ms=5) for n in range(2500)])
        await driver.apply([Put(f"kv!@long{n:04}", "v", ttl_ms=3_600_000) for n in range(1500)])
        await driver.apply([Put("other", "v"), Put("kv", "v")])
        monkeypatch.setattr(_commands, "host_now_ms", lambda: now + 60_000)
        assert await driver.purge() == 2500
        assert await driver.purge() == 0
        await driver.apply([Put("kv!@short", "v", ttl_ms=5)])
        monkeypatch.setattr(_commands, "host_now_ms", lambda: now + 120_000)
        assert await driver.clear("kv") == 1500
        assert [item.key for item in (await driver.scan(Range(""))).items] == ["kv", "other"]
        assert await driver.clear("") == 2


def test_reading_many_finds_each_by_its_primary_key(connection: sqlite3.Connection) -> None:
    for sql, value in (
        (_commands._GET_MANY[True], '["a"]'),
        (_commands._DELETE_MANY, '["a"]'),
        (_commands._GET_ONE[True], "a"),
    ):
        plan = " ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (value,)))
        assert "SCAN items" not in plan
        assert "sqlite_autoindex_items_1" in plan
    plan = " ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {_commands._FREE}", (1, 1)))
    assert "SCAN items" not in plan
    assert "items_by_expiry" in plan


async def test_what_waited_for_another_program_is_not_born_expired(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path) as driver:
        for cond in (None, If.PRESENT):
            await driver.commit([[Put("kv!@a", "before")]])
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                waiting = asyncio.create_task(driver.commit([[Put("kv!@a", "mine", cond, 200)]]))
                await asyncio.sleep(0.4)
                other.execute("COMMIT")
            assert await waiting == [None]
            (item,) = await driver.get(["kv!@a"])
            assert item is not None
            assert item.ttl_ms is not None
