"""Every operation on files, in one place: what a recorder of file operations stands in for is this module's `os`.

Paths are relative to the base, with `/` between the names. The folder of a path is opened name by name, each one in
the one around it and never through a symbolic link, and whatever is done to a file is done by its name in that
descriptor. So nothing outside the base is reached, even while folders are exchanged for links (see `_folders`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from limpet._errors import ConfigurationError
from limpet.driver.kit import give_to_owner, new_file_mode, new_folder_mode

from ._errors import patiently
from ._folders import LARGEST, Folders, kind_of

__all__ = ["Files"]

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
_PLAIN_ONLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Neither follow a link nor wait for whoever writes into a pipe."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY | _PLAIN_ONLY
_WINDOWS = sys.platform == "win32"
_LONGEST_PATH = 32767 if _WINDOWS else os.pathconf("/", "PC_PATH_MAX")

P = ParamSpec("P")
T = TypeVar("T")

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


def _named(method: Callable[Concatenate[Files, str, P], T]) -> Callable[Concatenate[Files, str, P], T]:
    """Errors name the whole path: the system was given a name only."""

    @wraps(method)
    def named(self: Files, path: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, path, *args, **kwargs)
        except OSError as error:
            if error.filename is not None:
                error.filename = self.at(path)
            raise

    return named


class Files:
    """The files below one folder."""

    def __init__(self, base: str) -> None:
        """`base` is absolute."""
        self.base = base
        # Windows takes long paths, and names that end in a dot, only so.
        self._root = f"\\\\?\\{base}" if _WINDOWS and not base.startswith("\\\\") else base
        self.folders = Folders(self._root, self.at)
        self.only_reads = False
        self.syncs = 0
        """How often this asked the system to bring something to the disk."""

    def at(self, path: str) -> str:
        """The system's path, for messages."""
        return os.sep.join([self._root, *path.split("/")]) if path else self._root

    def check_length(self, path: str) -> None:
        """Raises `OSError` for a path that other programs could not open: here names are enough."""
        if len(os.fsencode(self._root)) + len(path) + 1 >= _LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), self.at(path))

    def make_base(self) -> None:
        """Make the base and the folders around it, on the disk too."""
        missing: list[str] = []
        folder = self._root
        while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            around = os.stat(os.path.dirname(folder))
            with suppress(FileExistsError):  # another process was faster
                os.mkdir(folder, 0o700)
                self._give(folder, around)
            self._sync_path(os.path.dirname(folder))

    def _open(self, name: str, flags: int, mode: int = 0o600, *, around: int | None) -> int:
        try:
            return os.open(name, flags, mode, dir_fd=around)
        except OSError as error:
            self.folders.make_room(error)
            return os.open(name, flags, mode, dir_fd=around)

    # Reading.

    @_named
    def read(self, path: str) -> tuple[bytes, os.stat_result] | None:
        """The content of a plain file, and what the system says about it; `None` for anything else."""
        try:
            around, name = self.folders.around(path)
            found = os.stat(name, dir_fd=around, follow_symlinks=False)
            if kind_of(found) != "file":
                return None  # to open a device or a pipe may do something
            fd = self._open(name, os.O_RDONLY | _BINARY | _PLAIN_ONLY, around=around)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise
        try:
            return read_all(fd, found.st_size), found
        finally:
            os.close(fd)

    @_named
    def kind(self, path: str) -> str | None:
        """`file`, `folder`, `other` (a link, a device, a pipe, a file too large for an item) or `None` for nothing."""
        return kind_of(self._lstat(path))

    @_named
    def seen(self, path: str) -> tuple[int, int] | None:
        """Size and time of change of a plain file, to tell it from another; `None` where there is none."""
        found = self._lstat(path)
        return None if found is None or kind_of(found) != "file" else (found.st_size, found.st_mtime_ns)

    def has_other_names(self, path: str) -> bool:
        """Whether a file has hard links elsewhere: what is written into it is written into those."""
        found = self._lstat(path)
        return found is not None and found.st_nlink > 1

    @_named
    def signature(self, path: str) -> tuple[int, int] | None:
        """Another one whenever a name in the folder comes or goes (as fine as the system's clock for files).

        `None` where there is no folder.
        """
        # The whole path at once: what is found is only compared, and who reads the folder opens it name by name.
        around, name = self.folders.below(path)
        try:
            found = os.stat(name, dir_fd=around, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if kind_of(found) != "folder":
            return None
        return found.st_mtime_ns, found.st_ino

    def names(self, path: str) -> Iterator[tuple[str, str]]:
        """The names in a folder, each with its kind."""
        fd = self.folders.folder(path).fd
        with os.scandir(self.at(path) if fd is None else fd) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield entry.name, "other"
                elif entry.is_dir(follow_symlinks=False):
                    yield entry.name, "folder"
                else:
                    yield entry.name, "file" if entry.is_file(follow_symlinks=False) else "other"

    def _lstat(self, path: str) -> os.stat_result | None:
        try:
            around, name = self.folders.around(path)
            return os.stat(name, dir_fd=around, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    # Writing.

    @_named
    def write(self, path: str, content: bytes, *, sync: bool = False) -> None:
        """Make a file, or make one anew. Not atomic: for names that nobody reads yet."""
        fd = self._make(path)
        try:
            write_all(fd, content)
            if sync:
                self.sync_fd(fd)
        finally:
            os.close(fd)

    def _make(self, path: str) -> int:
        around, name = self.folders.around(path)
        found = self.folders.folder(path.rpartition("/")[0]).found
        try:
            fd = self._open(name, _NEW, new_file_mode(found), around=around)
        except FileExistsError:
            os.unlink(name, dir_fd=around)  # written into, it might be a file that has another name elsewhere
            fd = self._open(name, _NEW, new_file_mode(found), around=around)
        give_to_owner(fd, found)
        return fd

    @_named
    def replace(self, path: str, target: str) -> None:
        """Rename a file over another, in one step."""
        there, new = self.folders.around(target)  # first, for the other folder is opened so often that it stays
        here, old = self.folders.around(path)
        patiently(lambda: os.replace(old, new, src_dir_fd=here, dst_dir_fd=there))

    @_named
    def remove(self, path: str) -> bool:
        """Remove a plain file; answer whether there was one. Leaves anything else alone."""
        found = self._lstat(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return False
        around, name = self.folders.around(path)
        patiently(lambda: os.unlink(name, dir_fd=around))
        return True

    @_named
    def make_folder(self, path: str) -> bool:
        """Make a folder; answer whether it was missing."""
        around, name = self.folders.around(path)
        found = self.folders.folder(path.rpartition("/")[0]).found
        try:
            os.mkdir(name, new_folder_mode(found), dir_fd=around)
        except FileExistsError:
            return False
        fd = self.folders.folder(path).fd
        if fd is not None:
            give_to_owner(fd, found)
        return True

    def remove_folder(self, path: str) -> bool:
        """Remove a folder if it is empty; answer whether it was."""
        try:
            around, name = self.folders.around(path)
            os.rmdir(name, dir_fd=around)
        except OSError:
            return False  # not empty, or somebody uses it, or somebody was faster: it stays, and hurts nobody
        self.folders.removed(path)
        return True

    # To the disk.

    @_named
    def sync(self, path: str) -> bool:
        """Bring a plain file's content to the disk; answer `False` where there is none any more."""
        if self.kind(path) != "file":
            return False
        try:
            around, name = self.folders.around(path)
            fd = self._open(name, (os.O_RDWR if _WINDOWS else os.O_RDONLY) | _BINARY | _PLAIN_ONLY, around=around)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno == errno.ELOOP:
                return False
            raise
        try:
            self.sync_fd(fd)
        finally:
            os.close(fd)
        return True

    def sync_folder(self, path: str) -> None:
        """Bring a folder's names to the disk. Windows does that by itself, in order."""
        if not _WINDOWS and self.folders.is_folder(path):
            fd = self.folders.folder(path).fd
            if fd is None:
                self._sync_path(self.at(path))
            else:
                self.syncs += 1
                os.fsync(fd)

    def _give(self, folder: str, around: os.stat_result) -> None:
        if not _WINDOWS:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _BINARY | _PLAIN_ONLY)
            try:
                give_to_owner(fd, around)
            finally:
                os.close(fd)

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
        fd = self.folders.folder("").fd
        if _sync_file_system is None or fd is None:
            return False
        self.syncs += 1
        if _sync_file_system(fd):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), self._root)
        return True

    def sync_fd(self, fd: int) -> None:
        """Bring what was written through a descriptor to the disk."""
        self.syncs += 1
        _sync(fd)

    @_named
    def open_log(self, path: str, *, create: bool = False) -> int | None:
        """A descriptor to read and write; `None` where the file is missing."""
        try:
            around, name = self.folders.around(path)
            found = self.folders.look(name, around)
            if found is None:
                return self._make(path) if create else None
            if not stat.S_ISREG(found.st_mode):
                raise ConfigurationError(
                    f"{self.at(path)} must be a regular file, but is a link, a folder or a device: move it away"
                )
            flags = os.O_RDONLY if self.only_reads else os.O_RDWR
            return self._open(name, flags | _BINARY | _PLAIN_ONLY, around=around)
        except (FileNotFoundError, NotADirectoryError):
            return None


def read_all(fd: int, size: int) -> bytes:
    """Everything from where the descriptor stands, or as much as an item can be; `size` is what to expect."""
    chunk = os.read(fd, size + 1)  # one more, so that the end shows itself in the first answer
    if len(chunk) == size:
        return chunk
    chunks, room = [chunk], LARGEST - len(chunk)
    while room > 0 and (chunk := os.read(fd, min(65536, room))):
        chunks.append(chunk)
        room -= len(chunk)
    return b"".join(chunks)


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset`."""
    if hasattr(os, "pread"):
        chunk = os.pread(fd, size, offset)
        if len(chunk) == size or not chunk:
            return chunk
    os.lseek(fd, offset, os.SEEK_SET)
    chunks: list[bytes] = []
    while size > 0 and (chunk := os.read(fd, size)):
        chunks.append(chunk)
        size -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def reader(fd: int) -> Callable[[int, int], bytes]:
    """`read_at` for who reads on from where it was: a small part is taken from a larger one that was read before."""
    begin, held = 0, b""

    def read(offset: int, size: int) -> bytes:
        nonlocal begin, held
        if not begin <= offset <= offset + size <= begin + len(held):
            begin, held = offset, read_at(fd, offset, max(size, 65536))
        return held[offset - begin : offset - begin + size]

    return read


def size_of_fd(fd: int) -> tuple[int, int]:
    """How long the open file is, and how many names it has."""
    found = os.fstat(fd)
    return found.st_size, found.st_nlink


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
