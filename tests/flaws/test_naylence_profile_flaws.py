"""The flaws of Naylence's storage profiles that concern files and folders; each has to be found in a model of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from limpet import ConfigurationError, CorruptDataError, Persistence, create_persistence_from_env
from pydantic import BaseModel

KEY = "1f" * 32


class OldProfile:
    """As its SQLite provider is: `<folder>/<namespace>.db`, a table for each model, a connection for each call."""

    async def open(self, folder: Path, profile: str = "sqlite", key: str = "") -> None:
        self.folder = folder
        if key and profile == "sqlite":
            warnings.warn("a master key is given but encryption is off", UserWarning, stacklevel=2)

    async def close(self) -> None:
        pass

    async def set(self, namespace: str, key: str, value: BaseModel) -> None:
        with self._connected(namespace, type(value)) as (connection, table):
            connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (key, value.model_dump_json()))

    async def get(self, namespace: str, key: str, model: type[BaseModel]) -> object:
        with self._connected(namespace, model) as (connection, table):
            row = connection.execute(f"SELECT value FROM {table} WHERE key = ?", (key,)).fetchone()
            return None if row is None else json.loads(row[0])["name"]

    @contextlib.contextmanager
    def _connected(self, namespace: str, model: type[BaseModel]) -> Iterator[tuple[sqlite3.Connection, str]]:
        path = self.folder / f"{namespace}.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = "kv_" + re.sub(r"(?<!^)(?=[A-Z])", "_", model.__name__).lower()
        with contextlib.closing(self._connect(path, table)) as connection, connection:
            yield connection, table

    def _connect(self, path: Path, table: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=30)
        try:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except sqlite3.DatabaseError:
            connection.close()
            path.rename(path.with_suffix(f".corrupt.{datetime.now(UTC):%Y%m%d%H%M%S}"))
            return self._connect(path, table)
        return connection


class NewProfile:
    """The same on Limpet, through the environment."""

    def __init__(self, env: pytest.MonkeyPatch) -> None:
        self._env = env
        self._persistence: Persistence | None = None

    async def open(self, folder: Path, profile: str = "sqlite", key: str = "") -> None:
        for variable, value in {"PROFILE": profile, "DB_DIRECTORY": str(folder), "MASTER_KEY": key}.items():
            self._env.setenv(f"FAME_STORAGE_{variable}", value)
        self._persistence = await create_persistence_from_env()

    async def close(self) -> None:
        if self._persistence is not None:
            await self._persistence.aclose()

    async def set(self, namespace: str, key: str, value: BaseModel) -> None:
        assert self._persistence is not None
        await self._persistence.kv(type(value), namespace).set(key, value)

    async def get(self, namespace: str, key: str, model: type[BaseModel]) -> object:
        assert self._persistence is not None
        found = await self._persistence.kv(model, namespace).get(key)
        return None if found is None else found.model_dump()["name"]


OLD = pytest.param(
    "old", marks=pytest.mark.xfail(strict=True, reason="the flaw of the old design", raises=AssertionError)
)


@pytest.fixture(params=["new", OLD])
async def profile(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OldProfile | NewProfile]:
    for variable in (
        "LIMPET_URL",
        "LIMPET_ENCRYPTION_KEY",
        "LIMPET_ENCRYPTION_KEY_FILE",
        "FAME_STORAGE_ENCRYPTED",
    ):
        monkeypatch.delenv(variable, raising=False)
    made = NewProfile(monkeypatch) if request.param == "new" else OldProfile()
    yield made
    await made.close()


class User(BaseModel):
    name: str


class Person(BaseModel):
    """`User` after somebody renamed it."""

    name: str


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("namespace", ["../escaped", "../../far", "a/b"])
async def test_a_namespace_never_leaves_its_folder(
    profile: OldProfile | NewProfile, tmp_path: Path, namespace: str
) -> None:
    await profile.open(tmp_path / "one/two/data")
    await profile.set(namespace, "u1", User(name="Ada"))
    assert await profile.get(namespace, "u1", User) == "Ada"
    made = {path.rpartition("/")[0] for path in files_in(tmp_path)}
    assert made == {"one/two/data"}


@pytest.mark.parametrize("content", [b"what another program keeps here " * 200, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_an_error_and_stays_where_it_is(
    profile: OldProfile | NewProfile, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "users.db").write_bytes(content)
    await profile.open(tmp_path)
    refused = False
    try:
        await profile.get("users", "u1", User)
    except CorruptDataError as error:
        refused = "users.db" in str(error)
    assert refused
    assert files_in(tmp_path)["users.db"] == content
    assert not [path for path in files_in(tmp_path) if "corrupt" in path]


async def test_the_loop_goes_on_while_another_process_writes(profile: OldProfile | NewProfile, tmp_path: Path) -> None:
    await profile.open(tmp_path)
    await profile.set("users", "u1", User(name="Ada"))
    holding = threading.Event()

    def hold() -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "users.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            holding.set()
            time.sleep(0.7)
            connection.execute("COMMIT")

    holder = threading.Thread(target=hold)
    holder.start()
    await asyncio.to_thread(holding.wait)
    longest, last = 0.0, time.monotonic()
    writing = asyncio.create_task(profile.set("users", "u2", User(name="Bob")))
    while not writing.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    await writing
    await asyncio.to_thread(holder.join)
    assert await profile.get("users", "u2", User) == "Bob"
    assert longest < 0.4, f"the event loop stood still for {longest:.1f} s"


async def test_a_key_without_encryption_stores_nothing_in_the_clear(
    profile: OldProfile | NewProfile, tmp_path: Path
) -> None:
    with warnings.catch_warnings(), contextlib.suppress(ConfigurationError):
        warnings.simplefilter("ignore")
        await profile.open(tmp_path, "sqlite", KEY)
        await profile.set("users", "u1", User(name="canary-name"))
    assert not [path for path, content in files_in(tmp_path).items() if b"canary-name" in content]


async def test_a_renamed_model_finds_what_it_had(profile: OldProfile | NewProfile, tmp_path: Path) -> None:
    await profile.open(tmp_path)
    await profile.set("users", "u1", User(name="Ada"))
    assert await profile.get("users", "u1", Person) == "Ada"
