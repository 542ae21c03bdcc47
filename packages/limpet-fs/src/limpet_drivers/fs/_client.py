"""Every operation on files, in one place: what a recorder of file operations stands in for is this module's `os`.

Paths are relative to the base, with `/` between the names. Nothing here follows a symbolic link.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

__all__ = ["Files"]

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
_PLAIN_ONLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Neither follow a link nor wait for whoever writes into a pipe."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY | _PLAIN_ONLY
_BUSY_TRIES = 60
_WINDOWS = sys.platform == "win32"

if sys.platform == "darwin":  # pragma: no cover - the workflow's macOS job runs this
    import fcntl

    def _sync(fd: int) -> None:
        os.fsync(fd)
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone leaves it in the drive's cache there
elif sys.platform == "win32":  # pragma: no cover - the workflow's Windows job runs this

    def _sync(fd: int) -> None:
        os.fsync(fd)
else:

    def _sync(fd: int) -> None:
        os.fdatasync(fd)


_sync_file_system = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None


class Files:
    """The files below one folder."""

    def __init__(self, base: str) -> None:
        """`base` is absolute."""
        self.base = base
        # Windows takes long paths, and names that end in a dot, only so.
        self._root = f"\\\\?\\{base}" if _WINDOWS and not base.startswith("\\\\") else base
        self.syncs = 0
        """How often this asked the system to bring something to the disk."""

    def at(self, path: str) -> str:
        """The system's path."""
        if not path:
            return self._root
        return f"{self._root}{os.sep}{path.replace('/', os.sep)}" if _WINDOWS else f"{self._root}/{path}"

    def make_base(self) -> None:
        """Make the base and the folders around it, on the disk too."""
        missing: list[str] = []
        folder = self._root
        while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            with suppress(FileExistsError):  # another process was faster
                os.mkdir(folder)
            self._sync_path(os.path.dirname(folder))

    # Reading.

    def read(self, path: str) -> tuple[bytes, int] | None:
        """The content of a plain file and when it was written (nanoseconds since 1970); `None` for anything else."""
        if _WINDOWS and self.kind(path) != "file":
            return None  # there is no way to open a file there without following a link
        try:
            fd = os.open(self.at(path), os.O_RDONLY | _BINARY | _PLAIN_ONLY)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) or self.kind(path) not in ("file", None):
                return None
            raise
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return None
            return read_all(fd, found.st_size), found.st_mtime_ns
        finally:
            os.close(fd)

    def kind(self, path: str) -> str | None:
        """`file`, `folder`, `other` (a link, a device, a pipe) or `None` for nothing."""
        return _kind(self._lstat(path))

    def written_at(self, path: str) -> int | None:
        """When a plain file was written, in nanoseconds since 1970; `None` where there is none."""
        found = self._lstat(path)
        return found.st_mtime_ns if found is not None and _kind(found) == "file" else None

    def signature(self, path: str) -> tuple[int, int] | None:
        """Another one whenever a name in the folder comes or goes (as fine as the system's clock for files).

        First when it changed last, in nanoseconds since 1970. `None` where there is no folder.
        """
        found = self._lstat(path)
        return (found.st_mtime_ns, found.st_ino) if found is not None and _kind(found) == "folder" else None

    def names(self, path: str) -> Iterator[tuple[str, str]]:
        """The names in a folder, each with its kind."""
        with os.scandir(self.at(path)) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield entry.name, "other"
                elif entry.is_dir(follow_symlinks=False):
                    yield entry.name, "folder"
                else:
                    yield entry.name, "file" if entry.is_file(follow_symlinks=False) else "other"

    def _lstat(self, path: str) -> os.stat_result | None:
        try:
            return os.lstat(self.at(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    # Writing.

    def write(self, path: str, content: bytes, *, sync: bool = False) -> None:
        """Make a file, or write one anew. Not atomic: for names that nobody reads yet."""
        fd = os.open(self.at(path), _NEW, 0o666)
        try:
            write_all(fd, content)
            if sync:
                self.sync_fd(fd)
        finally:
            os.close(fd)

    def replace(self, source: str, target: str) -> None:
        """Rename a file over another, in one step."""
        patiently(lambda: os.replace(self.at(source), self.at(target)))

    def remove(self, path: str) -> bool:
        """Remove a plain file; answer whether there was one. Leaves anything else alone."""
        if self.kind(path) != "file":
            return False
        patiently(lambda: os.unlink(self.at(path)))
        return True

    def make_folder(self, path: str) -> bool:
        """Make a folder; answer whether it was missing."""
        try:
            os.mkdir(self.at(path))
        except FileExistsError:
            return False
        return True

    def remove_folder(self, path: str) -> bool:
        """Remove a folder if it is empty; answer whether it was."""
        try:
            os.rmdir(self.at(path))
        except OSError:
            return False  # not empty, or somebody uses it, or somebody was faster: it stays, and hurts nobody
        return True

    # To the disk.

    def sync(self, path: str) -> bool:
        """Bring a plain file's content to the disk; answer `False` where there is none any more."""
        try:
            fd = os.open(self.at(path), (os.O_RDWR if _WINDOWS else os.O_RDONLY) | _BINARY | _PLAIN_ONLY)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) or self.kind(path) != "file":
                return False
            raise
        try:
            self.sync_fd(fd)
        finally:
            os.close(fd)
        return True

    def sync_folder(self, path: str) -> None:
        """Bring a folder's names to the disk. Windows does that by itself, in order."""
        if self.kind(path) == "folder":
            self._sync_path(self.at(path))

    def _sync_path(self, folder: str) -> None:
        if _WINDOWS:
            return
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _BINARY)
        try:
            self.syncs += 1
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_everything(self) -> bool:
        """Bring the whole file system to the disk, at once; answer `False` where that takes one call for each file."""
        if _sync_file_system is None:
            return False
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | _BINARY)
        try:
            self.syncs += 1
            if _sync_file_system(fd):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), self._root)
        finally:
            os.close(fd)
        return True

    def sync_fd(self, fd: int) -> None:
        """Bring what was written through a descriptor to the disk."""
        self.syncs += 1
        _sync(fd)

    def open_log(self, path: str, *, create: bool = False) -> int | None:
        """A descriptor to read and write; `None` where the file is missing."""
        try:
            return os.open(self.at(path), os.O_RDWR | _BINARY | _PLAIN_ONLY | (os.O_CREAT if create else 0), 0o666)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _kind(found: os.stat_result | None) -> str | None:
    if found is None:
        return None
    if getattr(found, "st_reparse_tag", 0) == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1):
        return "other"  # a junction: Windows' other link between folders
    if stat.S_ISREG(found.st_mode):
        return "file"
    return "folder" if stat.S_ISDIR(found.st_mode) else "other"


def patiently(action: Callable[[], object]) -> None:
    """Do it again for two seconds while Windows says that somebody (an editor, a virus scanner) has the file open."""
    for attempt in range(_BUSY_TRIES):
        try:
            action()
        except PermissionError:
            if not _WINDOWS or attempt == _BUSY_TRIES - 1:
                raise
            time.sleep(0.03)
        else:
            return


def read_all(fd: int, size: int) -> bytes:
    """Everything from where the descriptor stands; `size` is what to expect."""
    chunks: list[bytes] = []
    want = size + 1  # one more, so that the end shows itself in the first answer
    while chunk := os.read(fd, want):
        chunks.append(chunk)
        want = max(want - len(chunk), 65536)
        if len(chunks) == 1 and len(chunk) == size:
            break
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset`."""
    os.lseek(fd, offset, os.SEEK_SET)
    chunks: list[bytes] = []
    while size > 0 and (chunk := os.read(fd, size)):
        chunks.append(chunk)
        size -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def size_of_fd(fd: int) -> int:
    """How long the open file is."""
    return os.fstat(fd).st_size


def write_all(fd: int, content: bytes) -> None:
    """All of it, from where the descriptor stands."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_at(fd: int, offset: int, content: bytes) -> None:
    """All of it, from `offset`."""
    os.lseek(fd, offset, os.SEEK_SET)
    write_all(fd, content)


def cut(fd: int, size: int) -> None:
    """Make the open file no longer than this."""
    os.ftruncate(fd, size)


def close(fd: int) -> None:
    """Give the descriptor back."""
    os.close(fd)
