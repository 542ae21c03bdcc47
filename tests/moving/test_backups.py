"""A backup holds everything, is restored on any driver, and is never taken for one when it is not complete."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from limpet import ConfigurationError, CorruptDataError, NotFoundError, create_persistence
from limpet.driver import MemoryDriver, Page, Put, Range, key, name, text
from limpet.driver.kit import scan_all
from limpet.moving import Keep, Progress, backup, backups, check_backup, restore, verify
from limpet.moving._database import MARKER
from limpet.opening import driver_from_url
from limpet.wrappers import encrypted
from limpet.wrappers.encryption import new_key

from ..conftest import EMBEDDED, SERVERS, STOOD_FOR, empty_place, not_on_a_stand_in
from ..formats import place


def _marked(scheme: str) -> object:
    marks = [pytest.mark.again] if scheme in SERVERS else []
    return pytest.param(scheme, marks=[*marks, *([pytest.mark.exhaustive] if scheme in STOOD_FOR else [])])


@pytest.mark.parametrize("scheme", [_marked(each) for each in (*EMBEDDED, *SERVERS) if each != "memory"])
@pytest.mark.parametrize("secret", [False, True], ids=["plain", "encrypted"])
async def test_everything_comes_back_on_another_driver(
    scheme: str, secret: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    not_on_a_stand_in(request, f"encrypted+{scheme}" if secret else scheme)
    wrappers = [encrypted(key=place.KEY)] if secret else []
    url, other = empty_place(scheme, tmp_path), f"fs://{tmp_path}/restored"
    async with create_persistence(url, wrappers=wrappers) as persistence:
        await place.fill(persistence)
    report = await backup(url, tmp_path / "backups")
    assert report.consistent
    assert report.damaged == {}
    contents = await check_backup(report.backup.path)
    assert (contents.items, contents.encrypted, contents.consistent) == (report.items, secret, True)
    assert contents.taken_at == report.backup.taken_at
    await restore(report.backup.path, other)
    async with (
        create_persistence(url, wrappers=wrappers) as before,
        create_persistence(other, wrappers=wrappers) as after,
    ):
        await place.check_contents(after)
        assert (await verify(before, after)).equal
        again = await backup(after, tmp_path / "again")  # and back, to the driver that it came from
        assert again.items == report.items
    await restore(again.backup.path, url, replace=True)
    async with create_persistence(url, wrappers=wrappers) as persistence:
        await place.check_contents(persistence)


async def test_nothing_in_the_clear_when_the_database_is_encrypted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with create_persistence(url, wrappers=[encrypted(key=new_key())]) as persistence:
        await persistence.kv(str, "canary-namespace").set("canary-key", "canary-value " * 50)
    report = await backup(url, tmp_path / "backups")
    async with driver_from_url(f"sqlite:///{_unpacked(report.backup.path, tmp_path)}") as driver:
        async for item in scan_all(driver, ""):
            assert "canary" not in f"{item.key} {item.value!r}"


def _unpacked(path: Path, folder: Path) -> Path:
    from limpet.moving._compression import open_file

    plain = folder / "unpacked.db"
    with open_file(path, "rb") as packed:
        plain.write_bytes(packed.read())
    return plain


async def _small(tmp_path: Path, records: int = 3) -> str:
    url = f"sqlite:///{tmp_path}/a.db"
    async with create_persistence(url) as persistence:
        for start in range(0, records, 250):
            many = {f"k{n}": {"n": n, "text": "x" * 500} for n in range(start, min(start + 250, records))}
            await persistence.kv(dict, "n").set_many(many)
    return url


async def test_a_database_in_use_is_consistent_once_it_rests(tmp_path: Path) -> None:
    url = await _small(tmp_path, 2000)
    async with create_persistence(url) as persistence:
        writing = True

        async def write() -> None:
            n = 0
            while writing:
                await persistence.kv(int, "live").set(f"k{n % 50}", n)
                await persistence.kv(dict, "n").delete(f"k{n}")
                n += 1

        def rest(step: Progress) -> None:
            nonlocal writing
            writing = writing and step.phase != "comparing"

        writer = asyncio.create_task(write())
        report = await backup(persistence, tmp_path / "backups", progress=rest)
        await writer
        assert report.consistent
        other = f"fs://{tmp_path}/other"
        await restore(report.backup.path, other)
        async with create_persistence(other) as restored:
            assert (await verify(persistence, restored)).equal


class _Restless(MemoryDriver):
    """Changes before each page that somebody reads."""

    async def scan(self, range: Range) -> Page:
        await self.apply([Put(key(name("app"), text("x")), "changed")])
        return await super().scan(range)


async def test_a_database_that_never_rests_is_said_to_be_inconsistent(tmp_path: Path) -> None:
    async with create_persistence(_Restless()) as persistence:
        report = await backup(persistence, tmp_path / "backups")
    assert not report.consistent
    assert not (await check_backup(report.backup.path)).consistent


async def test_old_backups_are_deleted_and_others_are_not(tmp_path: Path) -> None:
    url, folder = await _small(tmp_path), tmp_path / "backups"
    (folder / "deeper").mkdir(parents=True)
    for called in ("limpet-20200101T000000Z.limpet.db.gz", "limpet-20200102T000000Z.limpet.db.zst"):
        (folder / called).write_bytes(b"old")
    other = folder / "other-20200101T000000Z.limpet.db.gz"
    notes = folder / "limpet-notes.txt"
    for kept in (other, notes):
        kept.write_text("mine")
    first = await backup(url, folder, keep=Keep(count=3))
    assert first.removed == ()
    second = await backup(url, folder, keep=Keep(count=2))
    assert [path.name for path in second.removed] == [
        "limpet-20200102T000000Z.limpet.db.zst",
        "limpet-20200101T000000Z.limpet.db.gz",
    ]
    third = await backup(url, folder, keep=Keep(age=timedelta(days=1)))
    assert third.removed == ()
    found = backups(folder)
    assert [each.path for each in found] == [third.backup.path, second.backup.path, first.backup.path]
    assert len({each.path for each in found}) == 3
    old = folder / "limpet-20200101T000000Z.limpet.db.gz"
    old.write_bytes(b"old")
    assert (await backup(url, folder, keep=Keep(age=timedelta(days=1)))).removed == (old,)
    assert other.exists()
    assert notes.exists()
    assert sorted(each.name for each in folder.iterdir() if each.name.startswith(".")) == []


async def test_wrong_arguments_write_nothing(tmp_path: Path) -> None:
    url = await _small(tmp_path)
    with pytest.raises(NotFoundError):
        await backup(f"sqlite:///{tmp_path}/mistyped.db", tmp_path / "backups")
    with pytest.raises(ConfigurationError, match="prefix"):
        await backup(url, tmp_path / "backups", prefix="../up")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="folder"):
        await backup(url, tmp_path / "file" / "below")
    with pytest.raises(ConfigurationError):
        Keep()
    for wrong in (0, -1):
        with pytest.raises(ConfigurationError):
            Keep(count=wrong)
    with pytest.raises(ConfigurationError):
        Keep(age=timedelta(0))
    with pytest.raises(NotFoundError):
        backups(tmp_path / "nowhere")
    assert sorted(each for each in os.listdir(tmp_path) if "lock" not in each) == ["a.db", "file"]


async def test_no_changed_byte_goes_unnoticed(tmp_path: Path) -> None:
    path = (await backup(await _small(tmp_path, 50), tmp_path / "backups")).backup.path
    whole, contents = path.read_bytes(), _unpacked(path, tmp_path).read_bytes()
    noticed = 0
    for at in range(20, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            await check_backup(path)
        except CorruptDataError:
            noticed += 1
        else:  # a bit that means nothing
            assert _unpacked(path, tmp_path).read_bytes() == contents
    assert noticed > 30


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "another database", "not called so"])
async def test_a_damaged_backup_is_refused_before_anything_is_touched(damage: str, tmp_path: Path) -> None:
    url = await _small(tmp_path, 500)
    path = (await backup(url, tmp_path / "backups")).backup.path
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0x55]) + whole[middle + 1 :])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path = path.with_name("x.limpet.db.gz")
        path.write_bytes(b"hello")
    elif damage == "another database":
        path = path.with_suffix("")
        path.write_bytes((tmp_path / "a.db").read_bytes())
    else:
        path = path.rename(path.with_name("backup.tar"))
    target = f"fs://{tmp_path}/target"
    async with create_persistence(target) as persistence:
        await persistence.kv(int, "mine").set("x", 1)
    expected = ConfigurationError if damage == "not called so" else CorruptDataError
    with pytest.raises(expected):
        await check_backup(path)
    with pytest.raises(expected):
        await restore(path, target, replace=True)
    async with create_persistence(target) as persistence:
        assert await persistence.kv(int, "mine").get("x") == 1


async def test_a_target_with_data_is_left_alone(tmp_path: Path) -> None:
    url = await _small(tmp_path)
    path = (await backup(url, tmp_path / "backups")).backup.path
    target = f"fs://{tmp_path}/target"
    async with create_persistence(target) as persistence:
        await persistence.kv(int, "mine").set("x", 1)
    with pytest.raises(ConfigurationError, match="not empty"):
        await restore(path, target)
    await restore(path, target, replace=True)
    async with create_persistence(target) as persistence:
        assert await persistence.kv(int, "mine").get("x") is None
        assert await persistence.driver.get([MARKER]) == [None]
    opened = f"fs://{tmp_path}/opened"
    async with create_persistence(opened):
        pass
    await restore(path, opened)  # it was opened once, and holds nothing


async def test_what_has_expired_since_is_gone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with create_persistence(url) as persistence:
        await persistence.kv(int, "n").set("soon", 1, ttl=1)
        await persistence.kv(int, "n").set("later", 2, ttl=1000)
    path = (await backup(url, tmp_path / "backups")).backup.path
    await asyncio.sleep(1.1)
    await restore(path, f"fs://{tmp_path}/b")
    async with create_persistence(f"fs://{tmp_path}/b") as persistence:
        assert await persistence.kv(int, "n").get("soon") is None
        (item,) = await persistence.driver.get([persistence.kv(int, "n").at("later")])
    assert item is not None
    assert 900_000 < (item.ttl_ms or 0) < 1_000_000


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_killed_restore_continues(after: int, tmp_path: Path) -> None:
    url = await _small(tmp_path, 5000)
    path = (await backup(url, tmp_path / "backups")).backup.path
    target = f"fs://{tmp_path}/target"
    command = [sys.executable, str(Path(__file__).with_name("restorer.py")), str(path), target]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs here
    assert process.stdout is not None
    while process.stdout.readline().strip() != f"restoring {after}":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    other = await backup(await _other(tmp_path), tmp_path / "backups", prefix="other")
    with pytest.raises(ConfigurationError, match="not empty"):
        await restore(other.backup.path, target)
    await restore(path, target)
    assert (await verify(url, target)).equal


async def _other(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/other.db"
    async with create_persistence(url) as persistence:
        await persistence.kv(int, "n").set("x", 1)
    return url


async def test_a_killed_backup_leaves_no_backup(tmp_path: Path) -> None:
    url = await _small(tmp_path, 5000)
    program = "import asyncio, sys; from limpet.moving import backup; asyncio.run(backup(sys.argv[1], sys.argv[2], progress=lambda step: print(step.phase, flush=True)))"
    command = [sys.executable, "-c", program, url, str(tmp_path / "backups")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs here
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    assert backups(tmp_path / "backups") == []
    report = await backup(url, tmp_path / "backups")
    assert [each.path for each in backups(tmp_path / "backups")] == [report.backup.path]


async def test_damage_in_the_database_is_named(tmp_path: Path) -> None:
    url = f"fs://{tmp_path}/a"
    async with create_persistence(url) as persistence:
        await persistence.driver.apply(
            [Put(key(name("app"), text("x")), b"x" * 100), Put(key(name("app"), text("y")), b"y")]
        )
    (damaged,) = [path for path in (tmp_path / "a").rglob("*") if path.is_file() and path.read_bytes() == b"x" * 100]
    os.truncate(damaged, 50)
    report = await backup(url, tmp_path / "backups")
    if report.damaged:  # the fs driver may take it for an edit by a person, which is data
        assert not report.consistent
    contents = await check_backup(report.backup.path)
    assert contents.items == report.items
