"""What a file may be: ours, of a newer release, somebody else's, damaged, or nothing at all."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from limpet import ConfigurationError, CorruptDataError, FormatError, LimpetError
from limpet.driver import Put
from limpet_drivers.sqlite import SqliteDriver, _client, _layout


def everything(folder: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in folder.iterdir() if not found.is_dir()}


async def fill(path: Path) -> None:
    async with SqliteDriver(path) as driver:
        await driver.apply([Put("kv!@a", "kept"), Put("kv!@b", b"\0kept")])


async def refused(path: Path, expected: type[LimpetError], words: str) -> None:
    """The driver says so, and leaves everything in the folder as it was."""
    before = everything(path.parent)
    with pytest.raises(expected, match=words) as raised:
        await SqliteDriver(path, timeout=2).open()
    assert type(raised.value) is expected
    assert everything(path.parent) == before


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes and no database\n" * 100)
    await refused(path, CorruptDataError, "is not a SQLite database")


@pytest.mark.parametrize("size", [1, 100, 511, 512, 4095, 4097])
async def test_a_short_file_is_left_alone(tmp_path: Path, size: int) -> None:
    path = tmp_path / "short.db"
    path.write_bytes(b"x" * size)
    await refused(path, CorruptDataError, "is not a SQLite database")


async def test_a_damaged_header_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    await fill(path)
    content = bytearray(path.read_bytes())
    content[:100] = bytes(100)
    path.write_bytes(content)
    await refused(path, CorruptDataError, "is not a SQLite database")


async def test_a_file_cut_short_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    await fill(path)
    path.write_bytes(path.read_bytes()[:4096])
    before = everything(tmp_path)
    with pytest.raises(CorruptDataError, match="is damaged"):
        async with SqliteDriver(path) as driver:
            await driver.get(["kv!@a"])
    assert everything(tmp_path)["agent.db"] == before["agent.db"]


async def test_damage_in_the_middle_is_found_when_it_is_read_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path) as driver:
        await driver.apply([Put(f"kv!@{n:04}", "x" * 500) for n in range(500)])
    content = bytearray(path.read_bytes())
    content[4096 * 10 : 4096 * 60] = b"\xaa" * 4096 * 50
    path.write_bytes(content)
    async with SqliteDriver(path) as driver:
        health = await driver.health()
        assert health.details["check"] == "damaged"
        assert "restore a backup" in health.problems[0]
        keys = [f"kv!@{n:04}" for n in range(500)]
        with pytest.raises(CorruptDataError, match="is damaged"):
            await driver.get(keys)
        with pytest.raises(CorruptDataError, match="is damaged"):
            await driver.apply([Put(key, "y") for key in keys])
    assert len(path.read_bytes()) == len(content), "nothing was moved or replaced"


@pytest.mark.parametrize("wal", [False, True], ids=["rollback", "log"])
async def test_another_programs_database_is_left_alone(tmp_path: Path, wal: bool) -> None:
    path = tmp_path / "contacts.db"
    with closing(sqlite3.connect(path)) as connection:
        if wal:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE contacts (name)")
        connection.commit()
    await refused(path, FormatError, "belongs to another program .tables: contacts")


async def test_another_programs_tables_are_seen_while_they_are_only_in_its_log(tmp_path: Path) -> None:
    path = tmp_path / "contacts.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE contacts (name)")
        connection.commit()
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("contacts.db", "contacts.db-wal"):  # as a crash leaves them
            (copy / name).write_bytes((tmp_path / name).read_bytes())
        before = everything(copy)
        with pytest.raises(FormatError, match="contacts"):
            await SqliteDriver(copy / "contacts.db").open()
        after = everything(copy)
        assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("table", ["kv_storage", "unstorage"])
async def test_a_database_of_agentx_is_named(tmp_path: Path, table: str) -> None:
    path = tmp_path / "agentx.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table} (key TEXT, value TEXT)")
        connection.commit()
    await refused(path, FormatError, f"database of AgentX .table {table}")


async def test_a_database_of_naylence_is_named(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE kv_user_record (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    await refused(path, FormatError, "database of Naylence .table kv_user_record")


async def test_an_empty_database_with_another_programs_mark_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "marked.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 17")
        connection.commit()
    await refused(path, FormatError, "application id 17")


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    await fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    await refused(path, FormatError, "upgrade limpet-sqlite")


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder"):
        await SqliteDriver(tmp_path).open()


async def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LimpetError, match="file"):
        await SqliteDriver(tmp_path / "file" / "agent.db").open()


async def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.touch()
    await fill(path)
    async with SqliteDriver(path) as driver:
        assert [item and item.value for item in await driver.get(["kv!@a", "kv!@b"])] == ["kept", b"\0kept"]


async def test_the_folders_around_it_are_made(tmp_path: Path) -> None:
    await fill(tmp_path / "a" / "b" / "é ?#%" / "agent.db")
    assert {found.name for found in (tmp_path / "a" / "b" / "é ?#%").iterdir()} == {
        "agent.db",
        "agent.db-lock",
        "agent.db-lock.turn",
    }


async def test_a_file_shows_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    await fill(path)
    assert path.read_bytes()[68:72] == b"LIMP"


def add_column(monkeypatch: pytest.MonkeyPatch, statements: Sequence[str]) -> None:
    migrations = (*_layout.MIGRATIONS, tuple(statements))
    monkeypatch.setattr(_layout, "MIGRATIONS", migrations)
    monkeypatch.setattr(_client, "MIGRATIONS", migrations)


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


async def test_an_older_file_is_brought_forward_and_keeps_its_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent.db"
    await fill(path)
    first = version_of(path)
    with monkeypatch.context() as patch:
        add_column(patch, ["ALTER TABLE items ADD COLUMN colour TEXT", "UPDATE items SET colour = 'red'"])
        async with SqliteDriver(path) as driver:
            assert [item and item.value for item in await driver.get(["kv!@a", "kv!@b"])] == ["kept", b"\0kept"]
        assert version_of(path) == first + 1
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT DISTINCT colour FROM items").fetchall() == [("red",)]
    await refused(path, FormatError, "upgrade limpet-sqlite")


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent.db"
    await fill(path)
    first = version_of(path)
    with monkeypatch.context() as patch:
        add_column(patch, ["DELETE FROM items", "ALTER TABLE nowhere ADD COLUMN colour TEXT"])
        with pytest.raises(CorruptDataError, match="nowhere"):
            await SqliteDriver(path).open()
    assert version_of(path) == first
    async with SqliteDriver(path) as driver:
        assert [item and item.value for item in await driver.get(["kv!@a"])] == ["kept"]
