"""After a writer died or the power went: what is a leftover follows the journal, what a person wrote since stays.

Which of them it is never depends on a clock: times of change are set to long ago and to far ahead in every test.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from limpet.driver import Delete, Put, Range, Write
from limpet_drivers.fs import FsDriver
from limpet_drivers.fs._ledger import NEW

A, B, C = "kv!@a", "kv!@b", "kv!@c"
CLOCKS = {"right": 0.0, "ahead": 3600.0, "behind": -3600.0}


class Killed(Exception):
    """In place of a signal: nothing of the driver runs after it."""


async def values(base: Path) -> dict[str, object]:
    async with FsDriver(base) as driver:
        return {item.key: item.value for item in (await driver.scan(Range())).items}


def shifted(base: Path, clock: str) -> None:
    """The files say that they are from another time than the journal."""
    if CLOCKS[clock]:
        for path in base.rglob("*"):
            if ".limpet" not in path.parts and path.is_file():
                os.utime(path, (time.time() + CLOCKS[clock],) * 2)


async def killed(base: Path, batch: Iterable[Write], after: int) -> None:
    """Write a batch, and die after so many of its files are in their places; -1: after all of it was acknowledged."""
    driver = FsDriver(base)
    await driver.open()
    real, count = driver._files.replace, 0

    def replace(path: str, target: str) -> None:
        nonlocal count
        if path.startswith(NEW):
            if count == after:
                raise Killed
            count += 1
        real(path, target)

    driver._files.replace = replace  # type: ignore[method-assign]
    try:
        await driver.apply(tuple(batch))
    except Killed:
        assert after >= 0
    driver._thread.stop()
    driver._store.close()


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("after", [0, 1, 2, -1])
async def test_a_batch_is_whole_whatever_the_clock_said(tmp_path: Path, clock: str, after: int) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put(A, "100"), Put(B, "0"), Put(C, "x\ny")])
    shifted(tmp_path, clock)
    await killed(tmp_path, [Put(A, "60"), Put(B, "now text"), Delete(C)], after)
    assert await values(tmp_path) == {A: "60", B: "now text"}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("edited", [False, True])
async def test_renames_that_never_reached_the_disk(tmp_path: Path, clock: str, edited: bool) -> None:
    """Acknowledged, then the power went: the journal is on the disk, and the folder is as it was before."""
    base = tmp_path / "base"
    async with FsDriver(base) as driver:
        await driver.apply([Put(A, "100"), Put(B, "0"), Put(C, "1")])
    if edited:  # a person's version, which the batch replaced
        for name in "abc":
            (base / "kv" / f"{name}.json").write_text("7777")
    shifted(base, clock)
    shutil.copytree(base / "kv", tmp_path / "old")
    await killed(base, [Put(A, "60"), Put(B, "40"), Delete(C)], -1)
    assert sorted(path.name for path in (base / "kv").iterdir()) == ["a.json", "b.json"]
    shutil.rmtree(base / "kv")
    shutil.copytree(tmp_path / "old", base / "kv")
    assert await values(base) == {A: "60", B: "40"}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("left", [b"", b"8", b"\0" * 7, b'"' + b"x" * 511 + b"\0" * 400])
async def test_contents_that_never_reached_the_disk(tmp_path: Path, clock: str, left: bytes) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put(A, "1"), Put(B, "1")])
    await killed(tmp_path, [Put(A, '"' + "x" * 1000 + '"'), Put(B, "888888")], -1)
    for name in "ab":
        content = (tmp_path / "kv" / f"{name}.json").read_bytes()
        (tmp_path / "kv" / f"{name}.json").write_bytes(left if content.startswith(left[:1]) else b"\0" * 5)
    shifted(tmp_path, clock)
    assert await values(tmp_path) == {A: '"' + "x" * 1000 + '"', B: "888888"}


def _edit(path: Path) -> None:
    path.write_text("77\n")


def _by_rename(path: Path) -> None:
    path.with_name("swap").write_text("77\n")
    path.with_name("swap").rename(path)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("edit", [_edit, _by_rename])
@pytest.mark.parametrize("after", [1, -1])
async def test_what_a_person_wrote_since_stays(
    tmp_path: Path, clock: str, edit: Callable[[Path], None], after: int
) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put(A, "1"), Put(B, "1")])
    await killed(tmp_path, [Put(A, "2"), Put(B, "2")], after)
    edit(tmp_path / "kv" / "a.json")
    (tmp_path / "kv" / "c.txt").write_text("added")
    shifted(tmp_path, clock)
    assert await values(tmp_path) == {A: "77", B: "2", C: "added"}


async def test_files_are_found_whatever_the_clock_says(tmp_path: Path) -> None:
    """Someone adds a file within the same tick of a coarse clock, and folders say that they are from the future."""
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put(A, "1")])
        ahead = time.time() + 3600
        os.utime(tmp_path / "kv", (ahead, ahead))
        assert len((await driver.scan(Range())).items) == 1
        (tmp_path / "kv" / "b.json").write_text("2")
        os.utime(tmp_path / "kv", (ahead, ahead))
        await asyncio.sleep(2.2)
        assert len((await driver.scan(Range())).items) == 2


async def test_what_a_folder_may_not_hold_concerns_that_folder(tmp_path: Path) -> None:
    """A file cannot follow the journal: its key says so, all others go on, and it follows as soon as it can."""
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put(A, "1"), Put("other!@x", "1")])
        await killed(tmp_path, [Put(A, "2"), Put("other!@x", "2")], 0)
        (tmp_path / "kv" / "a.json").unlink()
        (tmp_path / "kv").rmdir()
        (tmp_path / "kv").write_text("in the way")
        for _ in range(2):
            with pytest.raises(ConnectionError, match="could not be updated"):
                await driver.get([A])
            with pytest.raises(ConnectionError, match="could not be updated"):
                await driver.apply([Put(A, "3")])
            assert [item.value for item in await driver.get(["other!@x"]) if item] == ["2"]
            await driver.apply([Put("other!@y", "1")])
            assert len((await driver.scan(Range("other"))).items) == 2
        (tmp_path / "kv").unlink()
        assert [item.value for item in await driver.get([A]) if item] == ["2"]
        await driver.apply([Put(A, "3")])
    assert await values(tmp_path) == {A: "3", "other!@x": "2", "other!@y": "1"}
