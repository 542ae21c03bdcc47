"""Other users and other mounts: whose new files are, who may read them, and reading where nobody may write."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from limpet import NotFoundError, create_persistence
from limpet._errors import ReadOnlyError, UnavailableError
from limpet.driver import Put, Range
from limpet.wrappers import read_only
from limpet_drivers.sqlite import SqliteDriver

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
needs_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be somebody else")

SOMEBODY = 12345


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


async def _used(path: Path, value: str = "1") -> None:
    async with SqliteDriver(path) as driver:
        await driver.apply([Put("kv!@a", value)])


@pytest.mark.parametrize(
    ("made", "mask", "file"),
    [(None, 0o022, 0o600), (None, 0, 0o600), (0o755, 0o022, 0o600), (0o770, 0o007, 0o660), (0o750, 0o022, 0o640)],
)
async def test_who_may_read_new_files(tmp_path: Path, made: int | None, mask: int, file: int) -> None:
    folder = tmp_path / "around" / "folder"
    if made is not None:
        folder.mkdir(parents=True)
        folder.chmod(made)
    with umask(mask):
        async with SqliteDriver(folder / "agent.db") as driver:
            await driver.apply([Put("kv!@a", "1")])
            found = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}
    names = ["agent.db", "agent.db-lock", "agent.db-lock.turn", "agent.db-shm", "agent.db-wal"]
    assert found == dict.fromkeys(names, oct(file))
    if made is None:
        assert {oct(path.stat().st_mode & 0o777) for path in (folder, folder.parent)} == {"0o700"}
    else:
        assert folder.stat().st_mode & 0o777 == made


async def test_a_file_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "agent.db").touch()
    (tmp_path / "agent.db").chmod(0o644)
    await _used(tmp_path / "agent.db")
    assert (tmp_path / "agent.db").stat().st_mode & 0o777 == 0o644


def owners(folder: Path) -> None:
    """Everything in the folder is somebody's."""
    for path in folder.rglob("*"):
        assert path.stat().st_uid == SOMEBODY, path


@needs_root
def test_what_root_makes_belongs_to_the_owner_of_the_folder() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.chown(folder, SOMEBODY, SOMEBODY)

        async def used() -> None:
            async with SqliteDriver(folder / "below" / "agent.db") as driver:
                await driver.apply([Put("kv!@a", "1")])
                owners(folder)

        asyncio.run(used())
        os.seteuid(SOMEBODY)
        try:
            asyncio.run(used())
        finally:
            os.seteuid(0)


# read_only().


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def reading(path: Path) -> SqliteDriver:
    """As `read_only()` opens it."""
    driver = SqliteDriver(path, timeout=1)
    driver.only_reads = True
    return driver


async def value(driver: SqliteDriver) -> object:
    return [item.value for item in (await driver.scan(Range())).items]


async def test_read_only_makes_nothing_beside_a_database(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    await _used(path)
    os.unlink(tmp_path / "agent.db-lock")
    os.unlink(tmp_path / "agent.db-lock.turn")
    before = (names(tmp_path), path.read_bytes(), path.stat().st_mtime_ns)
    async with reading(path) as driver:
        assert await value(driver) == ["1"]
        with pytest.raises(ReadOnlyError):
            await driver.apply([Put("kv!@a", "2")])
        with pytest.raises(ReadOnlyError):
            await driver.purge()
        assert (await driver.health()).details["check"] == "ok"
    assert (names(tmp_path), path.read_bytes(), path.stat().st_mtime_ns) == before


async def test_read_only_of_nothing_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await create_persistence(f"sqlite:///{tmp_path}/below/agent.db", wrappers=[read_only()])
    (tmp_path / "empty.db").touch()
    with pytest.raises(NotFoundError):
        await create_persistence(f"sqlite:///{tmp_path}/empty.db", wrappers=[read_only()])
    assert names(tmp_path) == ["empty.db"]
    assert (tmp_path / "empty.db").stat().st_size == 0


async def test_read_only_sees_what_others_acknowledge(tmp_path: Path) -> None:
    """Also those who come, write, and take their log away again."""
    path = tmp_path / "agent.db"
    await _used(path, "0")
    async with reading(path) as reader:
        for n in range(1, 4):
            await _used(path, f"{n}")
            assert await value(reader) == [f"{n}"]
        async with SqliteDriver(path) as writer:
            for n in range(4, 8):
                await writer.apply([Put("kv!@a", f"{n}")])
                assert await value(reader) == [f"{n}"]
        assert await value(reader) == ["7"]
        await _used(path, "8")
        assert await value(reader) == ["8"]


@needs_root
@pytest.mark.parametrize("logged", [False, True])
def test_read_only_on_a_read_only_mount(tmp_path: Path, logged: bool) -> None:
    folder = tmp_path / "folder"
    url = f"sqlite:///{folder}/agent.db"

    async def write() -> None:
        async with create_persistence(url) as persistence:
            await persistence.kv(str, "n").set("a", "x")

    async def read() -> None:
        async with create_persistence(url, wrappers=[read_only()]) as persistence:
            assert await persistence.kv(str, "n").get("a") == "x"
            with pytest.raises(ReadOnlyError):
                await persistence.kv(str, "n").set("a", "y")

    async def plainly() -> None:
        await create_persistence(url)

    asyncio.run(write())
    if logged:  # as a killed process leaves it, without its shared memory
        with closing(sqlite3.connect(folder / "agent.db", isolation_level=None)) as connection:
            connection.execute("UPDATE items SET updated_at = updated_at + 1")
            shutil.copytree(folder, tmp_path / "copy")
        shutil.rmtree(folder)
        (tmp_path / "copy").rename(folder)
        (folder / "agent.db-shm").unlink()
    done = subprocess.run(["mount", "--bind", "-o", "ro", str(folder), str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"not tested: this machine refused a bind mount: {done.stderr.decode().strip()}")
    try:
        if logged:
            with pytest.raises(UnavailableError, match="with write permission"):
                asyncio.run(read())
        else:
            asyncio.run(read())
            asyncio.run(read())
        with pytest.raises((ReadOnlyError, UnavailableError)):
            asyncio.run(plainly())
    finally:
        subprocess.run(["umount", str(folder)], check=True)
