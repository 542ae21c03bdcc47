"""Profiles: what the environment may say, what is refused, and one database for each namespace."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from limpet import (
    ClosedError,
    ConfigurationError,
    FormatError,
    InvalidKeyError,
    UnavailableError,
    UnsupportedError,
    WrongKeyError,
    WrongStackError,
    create_persistence,
    create_persistence_from_env,
)
from limpet.driver import Key, MemoryDriver, Put, Range, key, name
from limpet.opening import OnDemand
from limpet.profiles import FolderPersistence, Profile, file_stem, profile_from_env
from limpet.state import BaseAgentState, StatefulAgent
from limpet.structures import OutOfLine, collect_chunks
from limpet.wrappers import Cached, compressed
from pydantic import BaseModel

KEY, OTHER_KEY = "1f" * 32, "2e" * 32


class User(BaseModel):
    name: str


class CounterState(BaseAgentState):
    count: int = 0


class Counter(StatefulAgent[CounterState]):
    pass


@pytest.fixture(autouse=True)
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without any of the variables, in an empty folder."""
    for variable in (
        "LIMPET_URL",
        *("LIMPET_ENCRYPTION_KEY" + suffix for suffix in ("", "_FILE")),
        *("FAME_STORAGE_" + variable for variable in ("PROFILE", "DB_DIRECTORY", "MASTER_KEY", "ENCRYPTED")),
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LIMPET_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def fame(env: pytest.MonkeyPatch, **variables: str) -> None:
    for variable, value in variables.items():
        env.setenv(f"FAME_STORAGE_{variable}", value)


def databases(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.db"))


def stored_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*.db*"))


# What the environment says.


async def test_nothing_means_the_default_place(tmp_path: Path) -> None:
    assert profile_from_env() == Profile()
    async with create_persistence_from_env() as persistence:
        await persistence.kv(User, "users").set("u1", User(name="Ada"))
    assert (tmp_path / "home/limpet.db").exists()


async def test_limpet_url_names_the_place(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env.setenv("LIMPET_URL", "sqlite:///agent.db")
    async with create_persistence_from_env() as persistence:
        await persistence.sessions.save_session({"sessionId": "s"})
    async with create_persistence(f"sqlite:///{tmp_path.as_posix()}/agent.db") as persistence:
        assert await persistence.sessions.find_session_by_id("s") is not None


@pytest.mark.parametrize("by", ["variable", "file"])
async def test_a_key_encrypts_it(env: pytest.MonkeyPatch, tmp_path: Path, by: str) -> None:
    env.setenv("LIMPET_URL", "sqlite:///agent.db")
    if by == "file":
        (tmp_path / "key").write_text(KEY + "\n")
        env.setenv("LIMPET_ENCRYPTION_KEY_FILE", str(tmp_path / "key"))
    else:
        env.setenv("LIMPET_ENCRYPTION_KEY", KEY)
    async with create_persistence_from_env(wrappers=[compressed()]) as persistence:
        await persistence.kv(User, "users").set("canary-key", User(name="canary-name"))
    assert b"canary" not in stored_in(tmp_path)
    env.delenv("LIMPET_ENCRYPTION_KEY_FILE", raising=False)
    env.delenv("LIMPET_ENCRYPTION_KEY", raising=False)
    with pytest.raises(WrongStackError, match="'compressed' over 'encrypted'"):
        await create_persistence_from_env()
    env.setenv("LIMPET_ENCRYPTION_KEY", OTHER_KEY)
    with pytest.raises(WrongKeyError):
        await create_persistence_from_env(wrappers=[compressed()])


def test_naylences_defaults(env: pytest.MonkeyPatch) -> None:
    fame(env, DB_DIRECTORY="elsewhere")
    assert profile_from_env() == Profile(url="memory://")
    env.delenv("FAME_STORAGE_DB_DIRECTORY")
    fame(env, PROFILE="sqlite")
    assert profile_from_env() == Profile(folder=Path("data/sqlite"))
    fame(env, DB_DIRECTORY="/srv/data", PROFILE="encrypted-sqlite", MASTER_KEY=KEY)
    assert profile_from_env() == Profile(folder=Path("/srv/data"), key="env://FAME_STORAGE_MASTER_KEY")
    fame(env, PROFILE="sqlite", ENCRYPTED="True")
    assert profile_from_env().key is not None
    fame(env, PROFILE="redis://localhost/0")
    assert profile_from_env() == Profile(url="redis://localhost/0", key="env://FAME_STORAGE_MASTER_KEY")
    fame(env, PROFILE="memory")
    assert profile_from_env() == Profile(url="memory://")


def test_empty_variables_are_not_set(env: pytest.MonkeyPatch) -> None:
    env.setenv("LIMPET_URL", "")
    fame(env, PROFILE="", MASTER_KEY="")
    assert profile_from_env() == Profile()


@pytest.mark.parametrize("key", ["secret://master", "env://ELSEWHERE"])
def test_the_master_key_may_say_where_it_is(env: pytest.MonkeyPatch, key: str) -> None:
    fame(env, PROFILE="encrypted-sqlite", MASTER_KEY=key)
    assert profile_from_env().key == key


def test_a_key_file_of_ours_serves_a_profile_of_naylence(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fame(env, PROFILE="encrypted-sqlite")
    env.setenv("LIMPET_ENCRYPTION_KEY_FILE", str(tmp_path / "key"))
    assert profile_from_env().key == tmp_path / "key"


def test_limpet_url_wins_and_says_so(env: pytest.MonkeyPatch) -> None:
    env.setenv("LIMPET_URL", "memory://")
    fame(env, PROFILE="sqlite", DB_DIRECTORY="x")
    with pytest.warns(UserWarning, match="FAME_STORAGE_DB_DIRECTORY, FAME_STORAGE_PROFILE has no effect"):
        assert profile_from_env() == Profile(url="memory://")


def test_a_variable_that_is_like_none_of_them_is_somebody_elses(env: pytest.MonkeyPatch) -> None:
    fame(env, BUCKET="x", PROFIL="")
    assert profile_from_env() == Profile()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PROFILE": "sqllite"}, "did you mean 'sqlite'"),
        ({"PROFIL": "sqlite"}, "FAME_STORAGE_PROFIL is set but has no meaning: did you mean FAME_STORAGE_PROFILE"),
        ({"PROFILE": "indexeddb"}, "use memory, sqlite, encrypted-sqlite, or a URL"),
        ({"PROFILE": "encrypted-sqlite"}, "FAME_STORAGE_MASTER_KEY is not set"),
        ({"PROFILE": "sqlite", "ENCRYPTED": "true"}, "FAME_STORAGE_MASTER_KEY is not set"),
        ({"PROFILE": "sqlite", "ENCRYPTED": "perhaps"}, "use true or false"),
        ({"PROFILE": "sqlite", "MASTER_KEY": KEY}, "would store plaintext"),
        ({"PROFILE": "memory://", "MASTER_KEY": KEY}, "would store plaintext"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(env: pytest.MonkeyPatch, variables: dict[str, str], message: str) -> None:
    fame(env, **variables)
    with pytest.raises(ConfigurationError, match=message) as caught:
        create_persistence_from_env()
    assert KEY not in str(caught.value)


def test_a_key_that_is_switched_off_is_a_warning(env: pytest.MonkeyPatch) -> None:
    fame(env, PROFILE="sqlite", MASTER_KEY=KEY, ENCRYPTED="false")
    with pytest.warns(UserWarning, match="as plaintext"):
        assert profile_from_env().key is None


async def test_a_key_that_is_none_is_found_when_opened(env: pytest.MonkeyPatch) -> None:
    fame(env, PROFILE="encrypted-sqlite", MASTER_KEY="hunter2")
    with pytest.raises(ConfigurationError) as caught:
        await create_persistence_from_env()
    assert "hunter2" not in str(caught.value)


def test_a_profile_shows_no_key() -> None:
    assert KEY not in repr(Profile(key=KEY))


# A folder with a database for each namespace.


async def test_each_namespace_has_a_database_of_its_own(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fame(env, PROFILE="encrypted-sqlite", MASTER_KEY=KEY, DB_DIRECTORY=str(tmp_path / "data/agent"))
    for turn in (1, 2):
        async with create_persistence_from_env() as persistence:
            users = persistence.kv(User, "users")
            if turn == 1:
                assert databases(tmp_path) == []
                await users.set("u1", User(name="Ada"))
            async with Counter(persistence=persistence).state as state:
                state.count += 1
            assert state.count == turn
            assert dict(await users.list()) == {"u1": User(name="Ada")}
            assert (await persistence.health()).details["databases in use"] == "2"
            assert await persistence.purge() >= 0
    assert databases(tmp_path) == ["data/agent/__agent_counter.db", "data/agent/users.db"]
    fame(env, MASTER_KEY=OTHER_KEY)
    async with create_persistence_from_env() as persistence:
        with pytest.raises(WrongKeyError):
            dict(await persistence.kv(User, "users").list())


@pytest.mark.parametrize("store", ["sessions", "images", "containers", "driver"])
async def test_what_it_does_not_keep_is_refused_by_name(tmp_path: Path, store: str) -> None:
    async with await FolderPersistence.open(tmp_path) as persistence:
        with pytest.raises(UnsupportedError, match=f"{store}: .* set LIMPET_URL"):
            getattr(persistence, store)
        assert not hasattr(persistence, "nothing_of_the_kind")
        for call in (lambda: persistence.kv(int, ("a", "b")), lambda: persistence.kv_tree(int)):
            with pytest.raises(UnsupportedError, match=r"namespaces of several labels: .* set LIMPET_URL"):
                call()


NAMESPACES = {
    "users": "users",
    "__agent_counter": "__agent_counter",
    "v1.2-x_y": "v1.2-x_y",
    "Users": "%55sers",
    "../escaped": "%2e%2e%2fescaped",
    "/etc/passwd": "%2fetc%2fpasswd",
    "a/b": "a%2fb",
    "a\\b": "a%5cb",
    ".": "%2e",
    "-x": "-x",
    "über uns": "%c3%bcber%20uns",
    "%2e": "%252e",
    "a~b": "a%7eb",
    "nul\0": "nul%00",
    "con.x": "con%2ex",
}


@pytest.mark.parametrize("namespace", NAMESPACES)
async def test_any_text_is_a_namespace_and_stays_in_the_folder(tmp_path: Path, namespace: str) -> None:
    assert file_stem(namespace) == NAMESPACES[namespace]
    folder = tmp_path / "in/here"
    async with await FolderPersistence.open(folder) as persistence:
        driver = persistence._driver_of(namespace)
        await driver.apply([Put(name("a"), "1")])
    assert databases(tmp_path) == [f"in/here/{NAMESPACES[namespace]}.db"]


def test_two_namespaces_never_share_a_file() -> None:
    awkward = [
        "",
        " ",
        "con",
        "CON",
        "con.y",
        "nul",
        "lpt1",
        "x" * 100,
        "x" * 101,
        "x" * 100 + "y",
        "%",
        "é",
        "e\u0301",
        "😀" * 99,
    ]
    stems = [file_stem(namespace) for namespace in [*NAMESPACES, *awkward]]
    assert len({stem.lower() for stem in stems}) == len(stems)
    assert all(len(stem) <= 100 and stem.isascii() and not stem.startswith(".") for stem in stems)
    assert not {"con", "nul", "lpt1", ""} & {stem.split(".")[0] for stem in stems}
    for wrong in ("\ud800", 5):
        with pytest.raises(InvalidKeyError):
            file_stem(wrong)  # type: ignore[arg-type]


def naylence(path: Path, table: str, *, checkpoint: bool = True) -> sqlite3.Connection:
    """A database as Naylence writes it."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, value TEXT NOT NULL, "
        "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
    )
    connection.execute(f"INSERT INTO {table} (key, value) VALUES ('u1', '{{}}')")
    connection.commit()
    return connection


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("users.db", "kv_user_record"),
        ("users.db", "kv_encrypted_value"),
        ("users_encrypted_value.db", "kv_encrypted_value"),
        ("users_user_record.db", "kv_user_record"),
    ],
)
@pytest.mark.parametrize("running", [False, True], ids=["closed", "in use"])
async def test_what_naylence_wrote_is_named_and_left_as_it_is(
    tmp_path: Path, file: str, table: str, running: bool
) -> None:
    connection = naylence(tmp_path / file, table)
    if not running:
        connection.close()
    before = (tmp_path / file).read_bytes()
    async with await FolderPersistence.open(tmp_path) as persistence:
        users = persistence.kv(User, "users")
        for _ in range(2):
            with pytest.raises(FormatError, match=rf"{file} is a database of Naylence .* left unchanged"):
                dict(await users.list())
        await persistence.kv(User, "others").set("u1", User(name="Ada"))
    assert (tmp_path / file).read_bytes() == before
    assert databases(tmp_path) == ["others.db", file]
    connection.close()


async def test_a_neighbour_of_ours_is_not_taken_for_naylences(tmp_path: Path) -> None:
    async with await FolderPersistence.open(tmp_path) as persistence:
        await persistence.kv(User, "users_archive").set("u1", User(name="CREATE TABLE kv_archived "))
        assert dict(await persistence.kv(User, "users").list()) == {}


async def test_after_closing_nothing_is_opened(tmp_path: Path) -> None:
    persistence = await FolderPersistence.open(tmp_path)
    users, others = persistence.kv(User, "users"), persistence.kv(User, "others")
    await users.set("u1", User(name="Ada"))
    await persistence.aclose()
    await persistence.aclose()
    for store in (users, others):
        with pytest.raises(ClosedError):
            dict(await store.list())
    with pytest.raises(ClosedError):
        persistence.kv(User, "users")
    assert databases(tmp_path) == ["users.db"]


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file/data cannot be created"):
        await FolderPersistence.open(tmp_path / "file/data")


async def test_on_demand_is_opened_once_by_whoever_comes_first(tmp_path: Path) -> None:
    driver = OnDemand(f"sqlite:///{tmp_path.as_posix()}/a.db", wrappers=[Cached])
    assert not driver.is_open
    at: list[Key] = [key(name("a"), name(f"x{n}")) for n in range(8)]
    await asyncio.gather(*(driver.apply([Put(each, "1")]) for each in at))
    assert driver.is_open
    opened = await driver.opened()
    assert isinstance(opened, OutOfLine)
    assert isinstance(opened.inner, Cached)
    assert (await driver.health()).server == "SQLite"
    assert len((await driver.scan(Range(""))).items) == 9
    assert await driver.clear(name("a")) == 8
    assert driver.capabilities.shared
    await driver.close()
    await driver.close()


async def test_on_demand_tries_again_after_it_could_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [UnavailableError("not yet")]

    async def open(self: MemoryDriver) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(MemoryDriver, "_open", open)
    driver = OnDemand("memory://")
    with pytest.raises(UnavailableError):
        await driver.get([name("a")])
    assert await driver.get([name("a")]) == [None]
    hints = driver.watch("")
    assert await anext(hints) is None
    await hints.aclose()  # type: ignore[attr-defined]
    await driver.close()


async def test_garbage_of_a_folder_is_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = partial(collect_chunks, grace_ms=-60_000)
    monkeypatch.setattr("limpet.structures._garbage_collection.collect_chunks", at_once)
    persistence = await FolderPersistence.open(tmp_path / "folder")
    try:
        store = persistence.kv(str, "long")
        await store.set("k", "x" * 3_000_000)
        assert [await persistence.collect_garbage() for _ in range(3)] == [0, 0, 0], "it is there"
        assert await store.get("k") == "x" * 3_000_000
        await store.delete("k")
        assert await persistence.collect_garbage() == 0, "it is marked first"
        assert await persistence.collect_garbage() > 0
        assert await persistence.purge() >= 0
    finally:
        await persistence.aclose()
