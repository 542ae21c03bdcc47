"""Other users and other mounts: whose new files are, who may read them, and what is wrong with one folder only."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from limpet import NotFoundError, create_persistence
from limpet._errors import ConfigurationError, ReadOnlyError, UnavailableError
from limpet.cli._app import application
from limpet.driver import Delete, Put, Range, Write
from limpet.wrappers import read_only
from limpet_drivers.fs import FsDriver
from typer.testing import CliRunner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
needs_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be somebody else")

SOMEBODY = 12345


@contextmanager
def as_somebody() -> Iterator[None]:
    """This process, as a user without special rights."""
    os.seteuid(SOMEBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def mounted(path: Path, *command: str) -> Iterator[None]:
    done = subprocess.run(["mount", *command, str(path)], capture_output=True)
    if done.returncode:
        pytest.skip(f"not tested: this machine refused a mount: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def shared_tmp() -> Iterator[Path]:
    """A folder that anybody may pass through: those of pytest are for one user."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def snapshot(base: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, time of change and mode of everything."""
    return {
        str(path.relative_to(base)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns, path.stat().st_mode)
        for path in [base, *base.rglob("*")]
    }  # fmt: skip


async def killed(base: Path, values: dict[str, str | None]) -> None:
    """Acknowledged, and no file followed: what a kill, or a loss of power, leaves."""
    driver = FsDriver(base)
    await driver.open()
    put_in_place = driver._store._placing.put_in_place
    driver._store._placing.put_in_place = lambda changes: None  # type: ignore[method-assign]
    driver._store.ledger.done = lambda: None  # type: ignore[method-assign]
    await driver.apply([Delete(key) if value is None else Put(key, value) for key, value in values.items()])
    driver._store._placing.put_in_place = put_in_place  # type: ignore[method-assign]
    driver._thread.stop()
    driver._store.close()


async def values(driver: FsDriver) -> dict[str, object]:
    return {item.key: item.value for item in (await driver.scan(Range(limit=1000))).items}


def reading(base: Path) -> FsDriver:
    """As `read_only()` opens it."""
    driver = FsDriver(base, lock_timeout=1)
    driver.only_reads = True
    return driver


# Owners and modes.


async def _used(base: Path) -> None:
    async with FsDriver(base) as driver:
        await driver.apply([Put("kv!@deep!@a", "1"), Put("kv!@b", b"\0")])
        await driver._thread.run(driver._checkpoints.finish)
        await driver.apply([Put("kv!@deep!@a", "2"), Delete("kv!@b"), Put("other!@c", "1")])


@needs_root
def test_what_root_makes_belongs_to_the_owner_of_the_folder(shared_tmp: Path) -> None:
    """Otherwise `sudo limpet doctor` would leave a journal that the running application cannot open."""
    base = shared_tmp / "base"
    base.mkdir()
    os.chown(base, SOMEBODY, SOMEBODY)
    with as_somebody():
        asyncio.run(_used(base))
    for command in (
        ["set", f"fs://{base}", "a", "1"],
        ["doctor", f"fs://{base}"],
        ["doctor", f"fs://{base}", "--repair", "--probe"],
    ):
        assert CliRunner().invoke(application(), command).exit_code == 0
    asyncio.run(_used(base))
    assert {(path.stat().st_uid, path.stat().st_gid) for path in base.rglob("*")} <= {
        (SOMEBODY, SOMEBODY),
        (SOMEBODY, 0),
    }
    with as_somebody():
        asyncio.run(_used(base))


@pytest.mark.parametrize(
    ("made", "mask", "file", "folder"),
    [
        (None, 0o022, 0o600, 0o700),
        (None, 0o000, 0o600, 0o700),
        (0o755, 0o022, 0o600, 0o700),  # what mkdir gives everybody is nobody's choice
        (0o770, 0o007, 0o660, 0o770),
        (0o750, 0o022, 0o640, 0o750),
        (0o777, 0o077, 0o600, 0o700),
    ],
)
async def test_who_may_read_new_files(tmp_path: Path, made: int | None, mask: int, file: int, folder: int) -> None:
    base = tmp_path / "around" / "base"
    if made is not None:
        base.mkdir(parents=True)
        base.chmod(made)
    with umask(mask):
        await _used(base)
    for path in [*base.rglob("*"), *([base, base.parent] if made is None else [])]:
        assert oct(path.stat().st_mode & 0o777) == oct(folder if path.is_dir() else file), path
    if made is not None:
        assert base.stat().st_mode & 0o777 == made, "a folder that was there is left as it was"


# One folder.


async def only_that_folder(driver: FsDriver, error: type[Exception]) -> None:
    """A write to `bad` is refused before anything is journalled, and everything else goes on."""
    journal = driver._store.ledger.end
    batches: list[list[Write]] = [[Put("bad!@a", "2")], [Put("good!@a", "x"), Delete("bad!@a")], [Put("bad!@new", "1")]]
    for batch in batches:
        with pytest.raises(error, match="bad"):
            await driver.apply(batch)
    assert driver._store.ledger.end == journal
    await driver.apply([Put("good!@a", "2"), Put("good!@expires", "1", None, 1)])
    outcomes = await driver.commit([[Put("bad!@a", "3")], [Put("good!@a", "3")]])
    assert isinstance(outcomes[0], error)
    assert outcomes[1] is None
    assert [item.value for item in await driver.get(["good!@a"]) if item] == ["3"]
    await driver.purge()
    await driver._thread.run(driver._checkpoints.finish)


@needs_root
async def test_a_folder_on_another_device(tmp_path: Path) -> None:
    """A refused write does not appear later, when the other file system is gone."""
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put("bad!@a", "1"), Put("bad!@expires", "1", None, 50), Put("good!@a", "1")])
        await asyncio.sleep(0.06)
        with mounted(tmp_path / "bad", "-t", "tmpfs", "none"):
            (tmp_path / "bad" / "a.json").write_text("77")
            await only_that_folder(driver, ConfigurationError)
            assert [item.value for item in await driver.get(["bad!@a"]) if item] == ["77"], "reading is harmless"
            driver._files.folders.begin()
            driver._files.folders.close()
    async with FsDriver(tmp_path) as driver:
        assert await values(driver) == {"bad!@a": "1", "good!@a": "3"}


@needs_root
async def test_a_folder_without_rights(shared_tmp: Path) -> None:
    base = shared_tmp / "base"
    base.mkdir()
    os.chown(base, SOMEBODY, SOMEBODY)
    with as_somebody():
        async with FsDriver(base) as driver:
            await driver.apply([Put("bad!@a", "1"), Put("bad!@expires", "1", None, 50), Put("good!@a", "1")])
            await asyncio.sleep(0.06)
            for mode in (0o500, 0o000):
                (base / "bad").chmod(mode)
                await only_that_folder(driver, UnavailableError)
                await driver.apply([Put("good!@a", "1")])
            (base / "bad").chmod(0o700)
            assert await values(driver) == {"bad!@a": "1", "good!@a": "1"}


async def test_a_folder_that_may_not_be_listed_hides_nothing_else(tmp_path: Path) -> None:
    """Such as lost+found, where the base is a mount."""
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put("good!@a", "1")])
        (tmp_path / "lost+found").mkdir(mode=0)
        assert await values(driver) == {"good!@a": "1"}


# read_only().


async def test_read_only_changes_nothing_at_all(tmp_path: Path) -> None:
    await _used(tmp_path)
    await killed(tmp_path, {"kv!@deep!@a": "3", "other!@c": None, "kv!@new": "text\n"})
    before = snapshot(tmp_path)
    async with reading(tmp_path) as driver:
        found = await values(driver)
        assert found == {"kv!@deep!@a": "3", "kv!@new": "text\n"}, "what was acknowledged is read from the journal"
        assert [item and item.value for item in await driver.get(["kv!@deep!@a", "other!@c"])] == ["3", None]
        for write in (driver.apply([Put("kv!@a", "1")]), driver.purge(), driver.clear("")):
            with pytest.raises(ReadOnlyError):
                await write
        assert not (await driver.health()).problems
    assert snapshot(tmp_path) == before
    async with FsDriver(tmp_path) as driver:
        assert await values(driver) == found, "whoever may write finds the same"


async def test_read_only_beside_one_who_writes(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as writer:
        await writer.apply([Put("kv!@a", "0")])
        async with reading(tmp_path) as reader:
            for n in range(1, 8):
                await writer.apply([Put("kv!@a", str(n)), Put(f"kv!@{n}", "x"), Delete(f"kv!@{n - 1}")])
                if n % 3 == 0:
                    await writer._thread.run(writer._checkpoints.finish)
                assert await values(reader) == {"kv!@a": str(n), f"kv!@{n}": "x"}
            await killed(tmp_path, {"kv!@a": "killed"})
            assert [item.value for item in await reader.get(["kv!@a"]) if item] == ["killed"]
            await writer.apply([Put("kv!@a", "again")])
            assert [item.value for item in await reader.get(["kv!@a"]) if item] == ["again"]
            (tmp_path / "kv" / "a.txt").write_text("by hand")
            assert [item.value for item in await reader.get(["kv!@a"]) if item] == ["by hand"]


async def test_read_only_of_a_folder_without_records(tmp_path: Path) -> None:
    """A fresh clone has no .limpet, and gets none."""
    (tmp_path / "kv").mkdir()
    (tmp_path / "kv" / "a.json").write_text("[1, 2]")
    async with reading(tmp_path) as driver:
        assert await values(driver) == {"kv!@a": "[1,2]"}
    assert os.listdir(tmp_path) == ["kv"]


async def test_read_only_of_nothing_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await create_persistence(f"fs://{tmp_path}/none", wrappers=[read_only()])
    assert os.listdir(tmp_path) == []


@needs_root
@pytest.mark.parametrize("unclean", [False, True])
def test_read_only_on_a_read_only_mount(tmp_path: Path, unclean: bool) -> None:
    async def write() -> None:
        async with create_persistence(f"fs://{tmp_path}") as persistence:
            await persistence.kv(str, "n").set("a", "x")
        if unclean:
            await killed(tmp_path, {"kv!@more": "1"})

    async def read() -> None:
        async with create_persistence(f"fs://{tmp_path}", wrappers=[read_only()]) as persistence:
            assert await persistence.kv(str, "n").get("a") == "x"
            assert [item and item.value for item in await persistence.driver.get(["kv!@more"])] == [
                "1" if unclean else None
            ]
            with pytest.raises(ReadOnlyError):
                await persistence.kv(str, "n").set("a", "y")

    async def plainly() -> None:
        async with FsDriver(tmp_path):
            pass

    steps: list[Callable[[], Awaitable[None]]] = [read, read]
    asyncio.run(write())
    with mounted(tmp_path, "--bind", "-o", "ro", str(tmp_path)):
        for step in steps:
            asyncio.run(step())  # type: ignore[arg-type]
        with pytest.raises(ReadOnlyError, match="read-only"):
            asyncio.run(plainly())
