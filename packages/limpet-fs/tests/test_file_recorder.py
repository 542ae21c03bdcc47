"""The recorder of file operations: what a disk holds after a loss of power, operation by operation."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from limpet_conformance.machinery.file_recorder import (
    FileRecorder,
    Keep,
    contents_only,
    everything,
    names_only,
    nothing,
    some,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "old").mkdir(parents=True)
    (tmp_path / "root" / "old" / "file").write_bytes(b"before")
    return tmp_path / "root"


def held(recorder: FileRecorder, folder: Path, keep: Keep, moment: int | None = None) -> dict[str, bytes | None]:
    """What is on the disk: content of files, `None` for folders."""
    target = folder / f"{len(list(folder.iterdir()))}"
    target.mkdir()
    recorder.replay(recorder.moments()[-1] if moment is None else moment, target, keep)
    return {str(path.relative_to(target)): path.read_bytes() if path.is_file() else None for path in target.rglob("*")}


OLD: dict[str, bytes | None] = {"old": None, "old/file": b"before"}


def test_what_was_there_counts_as_synced(root: Path, tmp_path: Path) -> None:
    assert held(FileRecorder(root), tmp_path, nothing) == OLD


def test_a_new_file_needs_both_syncs(root: Path, tmp_path: Path) -> None:
    recorder = FileRecorder(root)
    fd = recorder.open(str(root / "new"), os.O_WRONLY | os.O_CREAT)
    recorder.write(fd, b"content")
    assert held(recorder, tmp_path, nothing) == OLD
    assert held(recorder, tmp_path, everything) == {**OLD, "new": b"content"}
    assert held(recorder, tmp_path, names_only) == {**OLD, "new": b""}
    recorder.fsync(fd)
    recorder.close(fd)
    assert held(recorder, tmp_path, nothing) == OLD
    assert held(recorder, tmp_path, names_only) == {**OLD, "new": b"content"}
    folder = recorder.open(str(root), os.O_RDONLY)
    recorder.fsync(folder)
    recorder.close(folder)
    assert held(recorder, tmp_path, nothing) == {**OLD, "new": b"content"}


def test_each_unsynced_write_is_kept_or_not(root: Path, tmp_path: Path) -> None:
    recorder = FileRecorder(root)
    fd = recorder.open(str(root / "old" / "file"), os.O_RDWR)
    recorder.lseek(fd, 6, os.SEEK_SET)
    recorder.write(fd, b"AA")
    recorder.pwrite(fd, b"BB", 8)
    recorder.ftruncate(fd, 9)
    recorder.close(fd)
    possible = {held(recorder, tmp_path, some(seed))["old/file"] for seed in range(60)}
    assert possible == {b"before", b"beforeAA", b"before\0\0BB", b"before\0\0B", b"beforeAABB", b"beforeAAB"}
    assert held(recorder, tmp_path, contents_only)["old/file"] == b"beforeAAB" == (root / "old" / "file").read_bytes()


def test_a_rename_in_a_folder_is_one_step(root: Path, tmp_path: Path) -> None:
    recorder = FileRecorder(root)
    fd = recorder.open(str(root / "old" / "next"), os.O_WRONLY | os.O_CREAT)
    recorder.write(fd, b"after")
    recorder.fdatasync(fd)
    recorder.close(fd)
    recorder.replace(str(root / "old" / "next"), str(root / "old" / "file"))
    for seed in range(30):
        assert held(recorder, tmp_path, some(seed))["old/file"] in (b"before", b"after")
    assert held(recorder, tmp_path, everything) == {"old": None, "old/file": b"after"}


def test_folders_come_and_go(root: Path, tmp_path: Path) -> None:
    recorder = FileRecorder(root)
    recorder.mkdir(str(root / "new"))
    recorder.unlink(str(root / "old" / "file"))
    recorder.rmdir(str(root / "old"))
    recorder.mark("done")
    assert held(recorder, tmp_path, everything) == {"new": None}
    assert held(recorder, tmp_path, nothing) == OLD
    assert [held(recorder, tmp_path, everything, moment) for moment in recorder.moments()] == [
        OLD,
        {**OLD, "new": None},
        {"old": None, "new": None},
        {"new": None},
        {"new": None},
    ]
    assert recorder.marks(3) == []
    assert recorder.marks(4) == ["done"]
    assert recorder.last(3) == "rmdir old"


def test_opening_anew_cuts(root: Path, tmp_path: Path) -> None:
    recorder = FileRecorder(root)
    recorder.close(recorder.open(str(root / "old" / "file"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    assert held(recorder, tmp_path, nothing)["old/file"] == b"before"
    assert held(recorder, tmp_path, contents_only)["old/file"] == b""


def test_files_carry_the_time_of_their_content(root: Path, tmp_path: Path) -> None:
    os.utime(root / "old" / "file", ns=(5, 5))
    recorder = FileRecorder(root)
    fd = recorder.open(str(root / "old" / "file"), os.O_RDWR)
    recorder.write(fd, b"x")
    recorder.close(fd)
    for keep, young in ((nothing, False), (everything, True)):
        target = tmp_path / f"{young}"
        target.mkdir()
        recorder.replay(recorder.moments()[-1], target, keep)
        assert ((target / "old" / "file").stat().st_mtime_ns > 5) is young


def test_it_stands_in_for_a_module_and_gives_it_back(root: Path, tmp_path: Path) -> None:
    module: Any = SimpleNamespace(os=os)
    recorder = FileRecorder(root)
    with recorder.standing_in(module):
        module.os.mkdir(str(root / "seen"))
        module.os.mkdir(str(tmp_path / "not seen"))
        assert module.os.path is os.path
    assert module.os is os
    assert held(recorder, tmp_path, everything) == {**OLD, "seen": None}
    assert len(recorder.moments()) == 2
