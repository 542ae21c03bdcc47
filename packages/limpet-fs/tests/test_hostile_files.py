"""A folder that somebody else made: links, pipes, devices and enormous files in the places of ours.

Nothing outside of the folder is opened, written, made or removed, nothing hangs, no memory goes, and every error is ours.
"""

import asyncio
import ctypes
import os
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from limpet._errors import ConfigurationError, LimpetError
from limpet.driver import Delete, Put, Range
from limpet_conformance.machinery.outside import (
    SECRET,
    THINGS,
    Outside,
    beside,
    dangling_link,
    device,
    hard_link,
    link,
    link_to_folder,
    little_memory,
    pipe,
    put_in_place,
)
from limpet_drivers.fs import FsDriver, _folders

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")

Use: TypeAlias = Callable[[Path, bool], Callable[[], Awaitable[object]]]
Thing: TypeAlias = Callable[[Path, Outside], None]


def append(base: Path, raw: bytes) -> None:
    with (base / ".limpet" / "journal").open("ab") as journal:
        journal.write(raw)


# Sizes.


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound memory so")
@pytest.mark.parametrize("size", [600 * 1024**2, 1 << 40])
@pytest.mark.parametrize("name", ["journal", "index", "kv/a.json", "kv/new.json", "journal-next", "lock", ".gitignore"])
def test_enormous_files_cost_no_memory(use: Use, pattern: Path, name: str, size: int) -> None:
    with beside(pattern) as (base, outside):
        path = base / name if "/" in name else at(base, f".limpet/{name}")
        path.touch()
        os.truncate(path, size)
        with little_memory():
            outside.attacked(use(base, False))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound memory so")
@pytest.mark.parametrize("claims", [2**20, 2**28, 2**29, 2**32 - 1])
def test_enormous_frames_cost_no_memory(use: Use, pattern: Path, claims: int) -> None:
    with beside(pattern) as (base, outside):
        append(base, struct.pack("<III", claims, 0, 2**31))
        os.truncate(base / ".limpet" / "journal", 5 * 1024**2 * 100)
        with little_memory():
            outside.attacked(use(base, False))


async def test_what_is_too_large_for_an_item_is_left_alone(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        (tmp_path / "kv").mkdir()
        (tmp_path / "kv" / "a.json").touch()
        os.truncate(tmp_path / "kv" / "a.json", _folders.LARGEST + 1)
        assert await driver.get(["kv!@a"]) == [None]
        assert not (await driver.scan(Range())).items
        with pytest.raises(ConfigurationError, match="move it away"):
            await driver.apply([Put("kv!@a", "1")])
        await driver.apply([Delete("kv!@a")])
    assert (tmp_path / "kv" / "a.json").stat().st_size == _folders.LARGEST + 1


PLACES = [
    "kv", "kv/deep", "kv/a.json", "kv/a.txt", "kv/b.txt", "kv/new.json", "kv/deep/d.json", "images", ".limpet",
    ".limpet/new", ".limpet/new/0", ".limpet/new/1", ".limpet/new/restored", ".limpet/journal", ".limpet/index",
    ".limpet/journal-next", ".limpet/lock", ".limpet/lock.turn", ".limpet/.gitignore",
]  # fmt: skip


def at(base: Path, place: str) -> Path:
    """The path, with the name that the index has."""
    if place != ".limpet/index":
        return base / place
    return next((base / ".limpet").glob("index-*"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("thing", THINGS)
def test_what_stands_in_a_place(use: Use, pattern: Path, place: str, thing: Thing) -> None:
    with beside(pattern) as (base, outside):
        put_in_place(at(base, place), thing, outside)
        if thing is hard_link:
            outside.watch = None  # its content is inside as well: reading it is no escape
        if thing is hard_link and place in ("kv/a.json", "kv/a.txt", "kv/b.txt", "kv/new.json", "kv/deep/d.json"):
            return  # a file of the folder, with that content
        outside.attacked(use(base, False))


@pytest.mark.parametrize("thing", [link_to_folder, dangling_link, pipe, device])
@pytest.mark.parametrize("name", ["lock", "lock.turn"])
def test_what_stands_in_the_place_of_a_lock_is_refused(use: Use, pattern: Path, name: str, thing: Thing) -> None:
    with beside(pattern) as (base, outside):
        put_in_place(base / ".limpet" / name, thing, outside)
        assert isinstance(outside.attacked(use(base, False)), ConfigurationError)


# Exchanged while it is used.


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two names in one step")
@pytest.mark.parametrize("name", ["kv", "kv/ns", ".limpet", ".limpet/new", "kv/ns/a.json"])
def test_exchanged_for_a_link_during_use(tmp_path: Path, name: str) -> None:
    base, outside = tmp_path / "base", Outside(tmp_path)
    path = base / name
    link = base / "link"
    libc = ctypes.CDLL(None, use_errno=True)
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            libc.renameat2(-100, bytes(path), -100, bytes(link), 2)
            time.sleep(0.0002)

    async def attacked() -> None:
        driver = FsDriver(base, durability="process", lock_timeout=1)
        await driver.open()
        await driver.apply([Put("kv!@ns!@a", "1")])
        link.symlink_to(outside.folder / "victim.json" if name.endswith("json") else outside.folder)
        attacker = threading.Thread(target=exchange)
        attacker.start()
        try:
            end = time.monotonic() + 1.5
            count = 0
            while time.monotonic() < end:
                count += 1
                for step in (
                    lambda: driver.apply([Put(f"kv!@ns!@race{count % 50}", "x")]),  # noqa: B023 - awaited at once
                    lambda: driver.get(["kv!@ns!@victim", "kv!@victim", "kv!@ns!@a"]),
                    lambda: driver.apply([Delete("kv!@ns!@victim"), Delete("kv!@victim")]),
                    lambda: driver.scan(Range()),
                ):
                    with suppress(LimpetError):
                        assert SECRET.decode().strip('"') not in repr(await step())
        finally:
            stop.set()
            attacker.join()
            with suppress(LimpetError):
                await driver.close()

    asyncio.run(attacked())
    outside.check()


@pytest.mark.parametrize("place", ["kv", "kv/deep", ".limpet", ".limpet/new", "kv/a.json"])
def test_where_folders_cannot_be_opened_they_are_looked_at(
    use: Use, pattern: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Windows gets, tried here: links that were there before are not followed."""
    monkeypatch.setattr(_folders, "_DESCRIPTORS", False)
    with beside(pattern) as (base, outside):
        assert outside.attacked(use(base, False)) is None
    with beside(pattern) as (base, outside):
        put_in_place(base / place, link if place.endswith("json") else link_to_folder, outside)
        outside.attacked(use(base, False))
