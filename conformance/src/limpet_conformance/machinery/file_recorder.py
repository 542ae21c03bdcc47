"""What a power failure leaves: all file operations are recorded, and any prefix of them is replayed into a new folder.

A disk keeps what was synced. Of the rest, it keeps anything or nothing: content that was written but not synced, names
that were added or removed in a folder that was not synced. So code that must survive a power failure is run once with
a recorder in place of its `os`, and then checked after each operation:

    recorder = FileRecorder(root)                       # everything below this folder is watched
    with recorder.standing_in(my_package.my_io_module): # the module says `import os` and `os.write(...)`
        ...                                             # do something
        recorder.mark("acknowledged")
    for moment in recorder.moments():
        for keep in (nothing, everything, contents_only, names_only, some(seed)):
            recorder.replay(moment, fresh_folder, keep)
            ...                                         # open it; what recorder.marks(moment) names must be there

The model is harsher than most file systems: a rename to another folder may arrive in one of them and not in the
other, and of two unsynced writes the later one may be all that is kept. What a name in one folder points to changes
in one step, and a synced file keeps its content, though not its name. Recorded are `open`, `write`, `pwrite`,
`ftruncate`, `fsync`, `fdatasync`, `replace`, `rename`, `unlink`, `remove`, `mkdir`, `rmdir`, with a path or with a
name and the descriptor of its folder (`dir_fd`); code that changes files in other ways (the builtin `open`, `shutil`,
SQLite) is not seen.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Literal, TypeAlias

__all__ = ["FileRecorder", "Keep", "contents_only", "everything", "names_only", "nothing", "some"]

Keep: TypeAlias = Callable[[Literal["content", "name"]], bool]
"""Called for each operation that was not synced: does the disk keep it?"""


def nothing(what: Literal["content", "name"]) -> bool:
    """Power failed before the system wrote anything that it was not told to."""
    return False


def everything(what: Literal["content", "name"]) -> bool:
    """The system wrote everything, as if only the process had ended."""
    return True


def contents_only(what: Literal["content", "name"]) -> bool:
    """Files were written, folders were not."""
    return what == "content"


def names_only(what: Literal["content", "name"]) -> bool:
    """Folders were written, files were not: names of empty files, as after a rename that nobody synced."""
    return what == "name"


def some(seed: int) -> Keep:
    """Keep each operation at random."""
    random = Random(seed)
    return lambda what: random.random() < 0.5


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation or mark, with its time."""

    what: str
    path: str = ""
    other: str = ""
    handle: int = 0
    offset: int = 0
    data: bytes = b""
    at: int = 0


@dataclass(slots=True)
class _File:
    durable: bytes = b""
    written_at: int = 0
    """The time of the durable content."""
    waiting: list[tuple[int, bytes | None, int]] = field(default_factory=list)
    """Writes since the last sync: offset, data (`None`: truncated here), time."""

    def sync(self) -> None:
        self.durable, self.written_at = self.content(everything)
        self.waiting.clear()

    def content(self, keep: Keep) -> tuple[bytes, int]:
        content, written_at = bytearray(self.durable), self.written_at
        for offset, data, at in self.waiting:
            if not keep("content"):
                continue
            written_at = at
            if data is None:
                del content[offset:]
                continue
            content.extend(b"\0" * (offset - len(content)))
            content[offset : offset + len(data)] = data
        return bytes(content), written_at


@dataclass(slots=True)
class _Folder:
    durable: dict[str, _File | _Folder] = field(default_factory=dict)
    waiting: list[tuple[str, _File | _Folder | None]] = field(default_factory=list)
    """Names that were added, removed or changed since the last sync."""

    def names(self, keep: Keep) -> dict[str, _File | _Folder]:
        names = dict(self.durable)
        for name, node in self.waiting:
            if not keep("name"):
                continue
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node
        return names

    def sync(self) -> None:
        self.durable = self.names(everything)
        self.waiting.clear()


class FileRecorder:
    """Replaces the module `os`: does the same, and records what changes files below `root`."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """`root` must exist. What it contains now counts as synced."""
        self._root = os.path.realpath(root)
        self._begin = _taken(Path(self._root))
        self._steps: list[_Step] = []
        self._handles: dict[int, int] = {}
        self._places: dict[int, str] = {}
        """Where each open descriptor was opened: what a `dir_fd` means."""
        self._opened = 0

    @contextmanager
    def standing_in(self, *modules: ModuleType) -> Iterator[FileRecorder]:
        """Replace the name `os` in these modules with this recorder, during a block."""
        before = [vars(module)["os"] for module in modules]
        for module in modules:
            vars(module)["os"] = self
        try:
            yield self
        finally:
            for module, old in zip(modules, before, strict=True):
                vars(module)["os"] = old

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def mark(self, label: str) -> None:
        """Record that something happened here, such as an acknowledgement."""
        self._steps.append(_Step("mark", label))

    def moments(self) -> range:
        """Return every point at which power can fail: before the first operation, and after each."""
        return range(len(self._steps) + 1)

    def marks(self, moment: int) -> list[str]:
        """Return the marks up to a moment, oldest first."""
        return [step.path for step in self._steps[:moment] if step.what == "mark"]

    def last(self, moment: int) -> str:
        """Return the operation just before a moment, for a message."""
        if not moment:
            return "nothing yet"
        step = self._steps[moment - 1]
        return f"{step.what} {step.path} {step.other}".strip()

    def replay(self, moment: int, target: str | os.PathLike[str], keep: Keep) -> None:
        """Write into the empty folder `target` what is on a disk after a power failure at a moment.

        Files have the modification times of their content.
        """
        begin = _copy(self._begin)
        handles: dict[int, _File | _Folder] = {}
        for step in self._steps[:moment]:
            _play(begin, handles, step)
        _written(begin, Path(target), keep)

    # What is recorded.

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = self._where(path, dir_fd)
        there = os.path.lexists(where)
        fd = os.open(path, flags, mode, dir_fd=dir_fd)
        self._places[fd] = where
        name = self._below(where)
        if name is not None:
            self._opened += 1
            self._handles[fd] = self._opened
            what = "open" if there else "create"
            self._add(_Step(what, name, handle=self._opened))
            if there and flags & os.O_TRUNC:
                self._add(_Step("cut", name, handle=self._opened))
        return fd

    def close(self, fd: int) -> None:
        self._handles.pop(fd, None)
        self._places.pop(fd, None)
        os.close(fd)

    def write(self, fd: int, data: bytes) -> int:
        offset = os.lseek(fd, 0, os.SEEK_CUR)
        written = os.write(fd, data)
        self._wrote(fd, offset, bytes(data[:written]))
        return written

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        written = os.pwrite(fd, data, offset)
        self._wrote(fd, offset, bytes(data[:written]))
        return written

    def ftruncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)
        if fd in self._handles:
            self._add(_Step("cut", handle=self._handles[fd], offset=length))

    def fsync(self, fd: int) -> None:
        os.fsync(fd)
        self._synced(fd)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)
        self._synced(fd)

    def replace(
        self, source: str, target: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        os.replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        old, new = self._below(self._where(source, src_dir_fd)), self._below(self._where(target, dst_dir_fd))
        assert old is not None, "a rename from outside of the recorded folder cannot be replayed"
        assert new is not None, "a rename to outside of the recorded folder cannot be replayed"
        self._add(_Step("rename", old, new))

    rename = replace

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        os.unlink(path, dir_fd=dir_fd)
        self._named("unlink", self._where(path, dir_fd))

    remove = unlink

    def mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        os.mkdir(path, mode, dir_fd=dir_fd)
        self._named("mkdir", self._where(path, dir_fd))

    def rmdir(self, path: str, *, dir_fd: int | None = None) -> None:
        os.rmdir(path, dir_fd=dir_fd)
        self._named("rmdir", self._where(path, dir_fd))

    def _where(self, path: str, dir_fd: int | None) -> str:
        if dir_fd is None:
            return os.path.abspath(path)
        folder = self._places.get(dir_fd) or _opened_elsewhere(dir_fd)
        assert folder is not None, "this system does not tell where a folder is that another module opened"
        return os.path.normpath(os.path.join(folder, path))

    def _wrote(self, fd: int, offset: int, data: bytes) -> None:
        if fd in self._handles:
            self._add(_Step("write", handle=self._handles[fd], offset=offset, data=data))

    def _synced(self, fd: int) -> None:
        if fd in self._handles:
            self._add(_Step("sync", handle=self._handles[fd]))
        elif stat.S_ISDIR(os.fstat(fd).st_mode):  # by a module that opens folders for the recorded one
            folder = _opened_elsewhere(fd)
            name = None if folder is None else self._below(folder)
            if name is not None:
                self._add(_Step("sync", name))

    def _named(self, what: str, path: str) -> None:
        name = self._below(path)
        if name is not None:
            self._add(_Step(what, name))

    def _add(self, step: _Step) -> None:
        self._steps.append(_Step(step.what, step.path, step.other, step.handle, step.offset, step.data, time.time_ns()))

    def _below(self, path: str) -> str | None:
        inside = os.path.relpath(os.path.abspath(path), self._root)
        return None if inside.startswith("..") else inside.replace(os.sep, "/")


def _opened_elsewhere(fd: int) -> str | None:
    """Return the path of a folder that other code opened."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:  # pragma: no cover - the workflow's macOS job runs this
        if sys.platform == "darwin":
            import fcntl

            return fcntl.fcntl(fd, fcntl.F_GETPATH, b"\0" * 1024).rstrip(b"\0").decode()
        return None


def _taken(path: Path) -> _Folder:
    folder = _Folder()
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            folder.durable[entry.name] = _taken(entry)
        elif entry.is_file():
            folder.durable[entry.name] = _File(entry.read_bytes(), entry.stat().st_mtime_ns)
    return folder


def _copy(folder: _Folder) -> _Folder:
    return _Folder(
        {
            name: _copy(node) if isinstance(node, _Folder) else _File(node.durable, node.written_at)
            for name, node in folder.durable.items()
        }
    )


def _play(root: _Folder, handles: dict[int, _File | _Folder], step: _Step) -> None:
    match step.what:
        case "open":
            handles[step.handle] = _find(root, step.path)
        case "create":
            handles[step.handle] = file = _File(written_at=step.at)
            _name(root, step.path, file)
        case "mkdir":
            _name(root, step.path, _Folder())
        case "unlink" | "rmdir":
            _name(root, step.path, None)
        case "rename":
            node = _find(root, step.path)
            _name(root, step.other, node)
            _name(root, step.path, None)
        case "write" | "cut":
            file = handles[step.handle]  # type: ignore[assignment]
            file.waiting.append((step.offset, step.data if step.what == "write" else None, step.at))
        case "sync":
            (_find(root, step.path) if step.path else handles[step.handle]).sync()


def _find(root: _Folder, path: str) -> _File | _Folder:
    node: _File | _Folder = root
    for name in path.split("/") if path != "." else []:
        assert isinstance(node, _Folder)
        node = node.names(everything)[name]
    return node


def _name(root: _Folder, path: str, node: _File | _Folder | None) -> None:
    folder, _, name = path.rpartition("/")
    parent = _find(root, folder or ".")
    assert isinstance(parent, _Folder)
    parent.waiting.append((name, node))


def _written(folder: _Folder, target: Path, keep: Keep) -> None:
    for name, node in folder.names(keep).items():
        if isinstance(node, _Folder):
            (target / name).mkdir()
            _written(node, target / name, keep)
        else:
            content, written_at = node.content(keep)
            (target / name).write_bytes(content)
            os.utime(target / name, ns=(written_at, written_at))
