"""A folder next to the tested one, with what an attacker would like to reach, and what attackers put into databases.

    with beside(pattern) as (base, outside):        # `base` is a copy of the pattern
        put_in_place(base / "kv", link_to_folder, outside)
        error = outside.attacked(lambda: use(base))  # nothing outside was touched, it did not hang, the error is ours

The outside folder is watched by the system if possible (inotify), and compared byte by byte in any case.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from limpet._errors import LimpetError

__all__ = [
    "SECRET",
    "THINGS",
    "Outside",
    "beside",
    "dangling_link",
    "device",
    "folder",
    "hard_link",
    "link",
    "link_to_folder",
    "little_memory",
    "pipe",
    "put_in_place",
]

SECRET = b'"the secret outside"'
"""The content of every file outside."""
_LONGEST = 20.0
"""Seconds after which everything must be over."""


class _Watch:
    """What happens to the files in a folder: opened, read, written, created, removed."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._libc.inotify_add_watch(self._fd, bytes(folder), 0x00000FFF)  # IN_ALL_EVENTS

    def seen(self) -> bytes:
        """Return the names of what was touched."""
        with suppress(BlockingIOError):
            return os.read(self._fd, 65536)
        return b""

    def close(self) -> None:
        os.close(self._fd)


class Outside:
    """The folder next to the tested one."""

    def __init__(self, root: Path) -> None:
        """Creates `root/outside`, with files that have the same names as those of a database."""
        self.folder = root / "outside"
        self.folder.mkdir()
        for name in ("victim.json", "lock", "journal", "0", "a.json", "index-x"):
            (self.folder / name).write_bytes(SECRET)
            os.utime(self.folder / name, (1, 1))
        (self.folder / "empty").mkdir()
        self._before = self._found()
        self.watch: _Watch | None = _Watch(self.folder) if sys.platform == "linux" else None

    def _found(self) -> dict[str, tuple[bytes, int]]:
        return {
            str(path.relative_to(self.folder)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mode)
            for path in self.folder.rglob("*")
        }

    def check(self) -> None:
        """Assert that nothing has happened to it since it was created."""
        if self.watch is not None:
            assert self.watch.seen() == b"", "something outside was touched"
            self.watch.close()
        assert self._found() == self._before

    def attacked(self, use: Callable[[], Awaitable[object]]) -> LimpetError | None:
        """Run something, and check the outside. Returns the error that it raised, which must be one of Limpet's."""

        async def bounded() -> object:
            return await asyncio.wait_for(use(), _LONGEST)

        error: LimpetError | None = None
        begin = time.monotonic()
        try:
            assert SECRET.decode().strip('"') not in repr(asyncio.run(bounded())), "it read what is outside"
        except LimpetError as caught:
            error = caught
        assert time.monotonic() - begin < _LONGEST
        self.check()
        return error


@contextmanager
def beside(pattern: Path) -> Iterator[tuple[Path, Outside]]:
    """A copy of a folder, and an `Outside` next to it."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        shutil.copytree(pattern, root / "base")
        yield root / "base", Outside(root)


@contextmanager
def little_memory(room: int = 400 * 1024 * 1024) -> Iterator[None]:
    """During the block, limit how much more memory this process can use (Linux)."""
    import resource  # not available on Windows

    with Path("/proc/self/statm").open() as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + room, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


def link(path: Path, outside: Outside) -> None:
    """Create a link to a file outside."""
    path.symlink_to(outside.folder / "victim.json")


def link_to_folder(path: Path, outside: Outside) -> None:
    """Create a link to the folder outside."""
    path.symlink_to(outside.folder)


def dangling_link(path: Path, outside: Outside) -> None:
    """Create a link to a missing file, which opening it would create."""
    path.symlink_to(outside.folder / "made")


def pipe(path: Path, outside: Outside) -> None:
    """Create a pipe, which blocks when it is opened."""
    os.mkfifo(path)


def folder(path: Path, outside: Outside) -> None:
    """Create a folder that is not empty."""
    (path / "x").mkdir(parents=True)


def device(path: Path, outside: Outside) -> None:
    """Endless zeros."""
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def hard_link(path: Path, outside: Outside) -> None:
    """Create another name of a file outside."""
    path.hardlink_to(outside.folder / "victim.json")


THINGS: tuple[Callable[[Path, Outside], None], ...] = (
    link, link_to_folder, dangling_link, pipe, folder, device, hard_link
)  # fmt: skip
"""What may be in place of a file or a folder."""


def put_in_place(path: Path, thing: Callable[[Path, Outside], None], outside: Outside) -> None:
    """Replace whatever is at a path, if its folder exists."""
    if not path.parent.is_dir() or path.parent.is_symlink():
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    thing(path, outside)
