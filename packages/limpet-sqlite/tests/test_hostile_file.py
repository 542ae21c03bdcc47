"""A database that somebody else made: nothing in it runs, nothing beside it is followed, every error is ours, nothing hangs."""

import asyncio
import os
import shutil
import sqlite3
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limpet import create_persistence
from limpet._errors import ConfigurationError, CorruptDataError, LimpetError
from limpet.driver import Check, Delete, If, Put, Range
from limpet.wrappers import read_only
from limpet_conformance.machinery.outside import (
    Outside,
    beside,
    dangling_link,
    device,
    link,
    link_to_folder,
    little_memory,
    pipe,
    put_in_place,
)
from limpet_drivers.sqlite import SqliteDriver
from limpet_drivers.sqlite._layout import APPLICATION_ID

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


async def _use(base: Path, wrapped: bool) -> list[object]:
    found: list[object] = []
    if wrapped:
        async with create_persistence(f"sqlite:///{base}/agent.db", wrappers=[read_only()]) as persistence:
            return [await persistence.kv(object, "n").list()]
    driver = SqliteDriver(base / "agent.db", timeout=1)
    await driver.open()
    try:
        steps: list[Callable[[], Awaitable[object]]] = [
            lambda: driver.get(["kv!@a", "kv!@b"]),
            lambda: driver.scan(Range(limit=1000)),
            lambda: driver.apply([Put("kv!@a", "new")]),
            lambda: driver.apply([Put("kv!@a", "2"), Put("kv!@b", b"\0"), Delete("kv!@c"), Check("kv!@a", If.PRESENT)]),
            driver.purge,
            driver.health,
            lambda: driver.clear("kv!@deep"),
        ]
        for step in steps:
            with suppress(LimpetError):
                found.append(await step())
    finally:
        with suppress(LimpetError):
            await driver.close()
    return found


def use(base: Path, wrapped: bool = False) -> Callable[[], Awaitable[object]]:
    return lambda: _use(base, wrapped)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database, and what an attacker changes it with."""
    folder = tmp_path_factory.mktemp("pattern") / "base"

    async def make() -> None:
        async with SqliteDriver(folder / "agent.db") as driver:
            await driver.apply([Put(f"kv!@{name}", "x" * 50) for name in ("a", "b", "c")])
            await driver.apply([Put("kv!@deep!@d", b"\1" * 3000), Put("kv!@gone", "x", None, 1)])

    asyncio.run(make())
    return folder


def change(base: Path, *statements: str) -> None:
    with closing(sqlite3.connect(base / "agent.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def forge(base: Path, *statements: str) -> None:
    """As `change`, writing the schema by hand."""
    with closing(sqlite3.connect(base / "agent.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


TABLE = "CREATE TABLE items (key TEXT NOT NULL PRIMARY KEY, value NOT NULL, etag TEXT NOT NULL, updated_at INTEGER NOT NULL, expires_at INTEGER"
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT"
GONE = ("DROP INDEX items_by_expiry", "DROP TABLE items")
ATTACKS: dict[str, tuple[str, ...]] = {
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END",),
    "a trigger without end": (f"CREATE TRIGGER t BEFORE DELETE ON items BEGIN INSERT INTO items {ENDLESS} x,x,x,x,x FROM n; END",),
    "a view in the place of the table": (*GONE, f"CREATE VIEW items AS {ENDLESS} x AS key, x AS value, x AS etag, x AS updated_at, x AS expires_at FROM n"),
    "a view of many views": (*GONE, "CREATE VIEW v0 AS SELECT 1 AS key", *(f"CREATE VIEW v{n} AS SELECT a.key FROM v{n - 1} a, v{n - 1} b" for n in range(1, 8)), "CREATE VIEW items AS SELECT key, key AS value, key AS etag, 1 AS updated_at, 1 AS expires_at FROM v7"),
    "a generated column": (*GONE, f"{TABLE}, more AS (length(zeroblob(1000000000))))"),
    "a stored generated column": (*GONE, f"{TABLE}, more AS (hex(zeroblob(100000000))) STORED)"),
    "a check": (*GONE, f"{TABLE}, CHECK (length(hex(zeroblob(100000000))) > 0))"),
    "a default": (*GONE, f"{TABLE}, more DEFAULT (hex(randomblob(100000000))))"),
    "a foreign key": (*GONE, f"{TABLE}, FOREIGN KEY (key) REFERENCES other (key) ON DELETE CASCADE)"),
    "another order of text": (*GONE, TABLE.replace("key TEXT NOT NULL", "key TEXT COLLATE NOCASE NOT NULL") + ")"),
    "a virtual table": (*GONE, "CREATE VIRTUAL TABLE items USING fts4(key, value, etag, updated_at, expires_at)"),
    "an index of an expression": ("CREATE INDEX slow ON items (length(hex(zeroblob(100000000))))",),
    "a missing index": ("DROP INDEX items_by_expiry",),
    "no table": GONE,
    "a function of ours": ("CREATE TABLE json_each (value)",),
    "many tables": tuple(f"CREATE TABLE t{n} (x)" for n in range(1100)),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_is_attached_to_the_table_or_stands_in_its_place(pattern: Path, attack: str, wrapped: bool) -> None:
    with beside(pattern) as (base, outside):
        change(base, *ATTACKS[attack])
        content = (base / "agent.db").read_bytes()
        assert isinstance(outside.attacked(use(base, wrapped)), CorruptDataError)
        assert (base / "agent.db").read_bytes() == content, "it is left as it was"


HIDDEN = "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES"
FORGERIES = {
    "a trigger that says it is a table": f"{HIDDEN} ('table', 't', 't', 0, 'CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END')",
    "a trigger that says it is a view": f"{HIDDEN} ('view', 'v', 'v', 0, 'CREATE TRIGGER v AFTER INSERT ON items BEGIN DELETE FROM items; END')",
    "a trigger behind a comment": f"{HIDDEN} ('view', 'v', 'v', 0, 'CREATE/**/TRIGGER v AFTER INSERT ON items BEGIN DELETE FROM items; END')",
    "a view that has another name": f"{HIDDEN} ('view', 'v', 'v', 0, 'CREATE VIEW items AS SELECT 1')",
    "a second schema": f"{HIDDEN} ('view', 'sqlite_master', 'sqlite_master', 0, 'CREATE VIEW sqlite_master AS SELECT 1')",
    "a schema that is none": f"{HIDDEN} ('table', 'x', 'x', 3, 'no statement')",
    "a table that is its own schema": "UPDATE sqlite_master SET rootpage = 1 WHERE name = 'items'",
    "a table on the page of another": "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'items_by_expiry') WHERE name = 'items'",
    "a page that is not there": "UPDATE sqlite_master SET rootpage = 1000000 WHERE name = 'items'",
    "numbers for text": "UPDATE sqlite_master SET sql = 7, name = 8 WHERE name = 'items'",
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_schema_written_by_hand(pattern: Path, forgery: str) -> None:
    with beside(pattern) as (base, outside):
        with suppress(sqlite3.DatabaseError):  # SQLite may notice at once; what it wrote is there
            forge(base, FORGERIES[forgery])
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(base / "agent.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        outside.attacked(use(base))


async def test_a_trigger_that_comes_while_it_is_open_does_not_run(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        await driver.apply([Put("kv!@a", "1"), Put("kv!@b", "1")])
        change(tmp_path, "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items WHERE key = 'kv!@b'; END")
        with pytest.raises(LimpetError):
            await driver.apply([Put("kv!@c", "2")])
        assert [item and item.value for item in await driver.get(["kv!@b", "kv!@c"])] == ["1", None]


async def test_what_somebody_keeps_beside_is_allowed(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        await driver.apply([Put("kv!@a", "1")])
    change(
        tmp_path,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, note TEXT UNIQUE)",
        "CREATE INDEX by_note ON notes (note)",
        "CREATE VIEW report AS SELECT key FROM items",
        "ANALYZE",
    )
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        assert [item.key for item in (await driver.scan(Range())).items] == ["kv!@a"]


@pytest.mark.parametrize("application", [0, 1, -1, 2**31 - 1, -(2**31), APPLICATION_ID])
@pytest.mark.parametrize("version", [0, -1, 2, 2**31 - 1, -(2**31)])
def test_marks_in_the_header(pattern: Path, application: int, version: int) -> None:
    with beside(pattern) as (base, outside):
        change(base, f"PRAGMA application_id = {application}", f"PRAGMA user_version = {version}")
        assert isinstance(outside.attacked(use(base)), CorruptDataError)


@pytest.mark.parametrize(
    "row",
    ["X'00', 'x', 'e', 1, NULL", "'kv!@x', NULL, 'e', 1, NULL", "'kv!@x', 7, X'00', 'x', 'x'", "'kv!@x', 1.5, 1, 1.5, -1",
     "CAST(X'FFFE' AS TEXT), CAST(X'C328' AS TEXT), 'e', 1, NULL", "'', '', '', 0, 0", "'kv!@x', 'x', 'e', 9e18, 9e18"],
)  # fmt: skip
def test_rows_that_we_would_not_write(pattern: Path, row: str) -> None:
    with beside(pattern) as (base, outside):
        with suppress(sqlite3.IntegrityError):
            change(base, f"INSERT INTO items (key, value, etag, updated_at, expires_at) VALUES ({row})")
        outside.attacked(use(base))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound memory so")
def test_an_enormous_value_costs_no_memory(pattern: Path) -> None:
    with beside(pattern) as (base, outside):
        change(base, "INSERT INTO items VALUES ('kv!@huge', zeroblob(500000000), 'e', 1, NULL)")
        with little_memory(300 * 1024**2):
            outside.attacked(use(base))


# What lies beside.


@needs_posix
@pytest.mark.parametrize("name", ["agent.db", "agent.db-wal", "agent.db-shm", "agent.db-journal", "agent.db-lock"])
@pytest.mark.parametrize("thing", [link, link_to_folder, dangling_link, pipe, device])
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_stands_beside(pattern: Path, name: str, thing: Callable[[Path, Outside], None], wrapped: bool) -> None:
    with beside(pattern) as (base, outside):
        put_in_place(base / name, thing, outside)
        if name == "agent.db" and thing in (link, dangling_link):
            return  # the user's own link to a file is followed
        error = outside.attacked(use(base, wrapped))
        if not (wrapped and name == "agent.db-lock"):
            assert isinstance(error, ConfigurationError)


@needs_posix
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_journal_does_not_delete_what_it_names(pattern: Path, wrapped: bool) -> None:
    """SQLite deletes the journal of another database that one of a crash names at its end, whatever file that is."""
    with beside(pattern) as (base, outside):
        change(base, "PRAGMA journal_mode = DELETE")
        name = bytes(outside.folder / "victim.json")
        page = (base / "agent.db").read_bytes()[:4096]
        head = bytes.fromhex("d9d505f920a163d7") + struct.pack(">IIIII", 1, 0, 1, 512, 4096)
        checksum = sum(page[at] for at in range(4096 - 200, 0, -200)) & 0xFFFFFFFF
        record = struct.pack(">I", 1) + page + struct.pack(">I", checksum)
        ending = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name))
        (base / "agent.db-journal").write_bytes(
            head.ljust(512, b"\0") + record + ending + bytes.fromhex("d9d505f920a163d7")
        )
        assert isinstance(outside.attacked(use(base, wrapped)), CorruptDataError)


# At random.


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(["agent.db", "agent.db-wal"]),
            st.integers(0, 30_000),
            st.binary(min_size=1, max_size=16),
            st.sampled_from(["write", "cut", "insert"]),
        ),
        min_size=1,
        max_size=8,
    ),
    wrapped=st.booleans(),
)
def test_bytes_at_random(logged: Path, changes: list[tuple[str, int, bytes, str]], wrapped: bool) -> None:
    with beside(logged) as (base, outside):
        for name, at, raw, how in changes:
            content = (base / name).read_bytes()
            at %= max(1, len(content))
            after = {"write": content[at + len(raw) :], "cut": b"", "insert": content[at:]}[how]
            (base / name).write_bytes(content[:at] + (b"" if how == "cut" else raw) + after)
        outside.attacked(use(base, wrapped))


@pytest.fixture(scope="module")
def logged(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a log, as a killed process leaves it."""
    folder = tmp_path_factory.mktemp("logged") / "base"
    shutil.copytree(pattern, folder)
    copy = tmp_path_factory.mktemp("copy") / "base"
    with closing(sqlite3.connect(folder / "agent.db", isolation_level=None)) as connection:
        connection.execute("UPDATE items SET value = value || 'x' WHERE typeof(value) = 'text'")
        shutil.copytree(folder, copy)
    os.unlink(copy / "agent.db-shm")
    return copy
