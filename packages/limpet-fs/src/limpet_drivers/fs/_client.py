"""All file operations, in one place. A recorder of file operations replaces this module's `os`.

Paths are relative to the base and use `/`. Folders are opened name by name, each relative to its parent and never
through a symbolic link, and files are accessed by name relative to their folder's descriptor. So nothing outside the
base can be reached, even if folders are replaced by links in the meantime (see `_folders`).
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
"""Do not follow links, and do not wait for the writer of a pipe."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY | _PLAIN_ONLY
_WINDOWS = sys.platform == "win32"
_LONGEST_PATH = 32767 if _WINDOWS else os.pathconf("/", "PC_PATH_MAX")

P = ParamSpec("P")
T = TypeVar("T")

if sys.platform == "darwin":  # pragma: no cover - the workflow's macOS job runs this
    import fcntl

    def _sync(fd: int) -> None:
        os.fsync(fd)
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone leaves it in the drive's cache
elif sys.platform == "win32":  # pragma: no cover - the workflow's Windows job runs this

    def _sync(fd: int) -> None:
        os.fsync(fd)
else:

    def _sync(fd: int) -> None:
        os.fdatasync(fd)


_sync_file_system = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None


def _named(method: Callable[Concatenate[Files, str, P], T]) -> Callable[Concatenate[Files, str, P], T]:
    """Put the whole path into errors: the system was only given a name."""

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
        """`base` must be absolute."""
        self.base = base
        # Windows accepts long paths, and names that end in a dot, only in this form.
        self._root = f"\\\\?\\{base}" if _WINDOWS and not base.startswith("\\\\") else base
        self.folders = Folders(self._root, self.at)
        self.only_reads = False
        self.syncs = 0
        """How many times this object asked the system to sync."""

    def at(self, path: str) -> str:
        """Return the system's path, for messages."""
        return os.sep.join([self._root, *path.split("/")]) if path else self._root

    def check_length(self, path: str) -> None:
        """Raise `OSError` for a path too long for programs that, unlike this one, open whole paths."""
        if len(os.fsencode(self._root)) + len(path) + 1 >= _LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), self.at(path))

    def make_base(self) -> None:
        """Create the base and its parents, and sync them."""
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
        """Return the content of a regular file and its stat result; `None` for anything else."""
        try:
            around, name = self.folders.around(path)
            found = os.stat(name, dir_fd=around, follow_symlinks=False)
            if kind_of(found) != "file":
                return None  # opening a device or a pipe can have side effects
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
        """Return `file`, `folder`, `other` (a link, device, pipe, or a file that is too large) or `None` if missing."""
        return kind_of(self._lstat(path))

    @_named
    def seen(self, path: str) -> tuple[int, int] | None:
        """Return size and modification time of a regular file, to recognize it later; `None` if there is none."""
        found = self._lstat(path)
        return None if found is None or kind_of(found) != "file" else (found.st_size, found.st_mtime_ns)

    def has_other_names(self, path: str) -> bool:
        """Return whether a file has other hard links: writing into it would change those too."""
        found = self._lstat(path)
        return found is not None and found.st_nlink > 1

    @_named
    def signature(self, path: str) -> tuple[int, int] | None:
        """Return a value that changes whenever a name in the folder is added or removed (within file clock resolution).

        Returns `None` if there is no folder.
        """
        # Uses the whole path: the result is only compared, and whoever reads the folder opens it name by name.
        around, name = self.folders.below(path)
        try:
            found = os.stat(name, dir_fd=around, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if kind_of(found) != "folder":
            return None
        return found.st_mtime_ns, found.st_ino

    def names(self, path: str) -> Iterator[tuple[str, str]]:
        """Iterate over the names in a folder, each with its kind."""
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
        """Create a file, or replace it. Not atomic: only for names that nobody reads yet."""
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
            os.unlink(name, dir_fd=around)  # not overwritten, because it may have another hard link elsewhere
            fd = self._open(name, _NEW, new_file_mode(found), around=around)
        give_to_owner(fd, found)
        return fd

    @_named
    def replace(self, path: str, target: str) -> None:
        """Rename a file over another, atomically."""
        there, new = self.folders.around(target)  # first: the other folder is opened so often that it stays open
        here, old = self.folders.around(path)
        patiently(lambda: os.replace(old, new, src_dir_fd=here, dst_dir_fd=there))

    @_named
    def remove(self, path: str) -> bool:
        """Remove a regular file and return whether there was one. Anything else is left alone."""
        found = self._lstat(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return False
        around, name = self.folders.around(path)
        patiently(lambda: os.unlink(name, dir_fd=around))
        return True

    @_named
    def make_folder(self, path: str) -> bool:
        """Create a folder and return whether it was missing."""
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
        """Remove a folder if it is empty, and return whether it was removed."""
        try:
            around, name = self.folders.around(path)
            os.rmdir(name, dir_fd=around)
        except OSError:
            return False  # not empty, in use, or another process was faster: leaving it does no harm
        self.folders.removed(path)
        return True

    # Syncing.

    @_named
    def sync(self, path: str) -> bool:
        """Sync a regular file's content; return `False` if the file no longer exists."""
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
        """Sync a folder's names. Windows does this on its own, in order."""
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
        """Sync the whole file system at once. Return `False` if this system has no single call for that."""
        fd = self.folders.folder("").fd
        if _sync_file_system is None or fd is None:
            return False
        self.syncs += 1
        if _sync_file_system(fd):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), self._root)
        return True

    def sync_fd(self, fd: int) -> None:
        """Sync what was written through a descriptor."""
        self.syncs += 1
        _sync(fd)

    @_named
    def open_log(self, path: str, *, create: bool = False) -> int | None:
        """Return a descriptor for reading and writing; `None` if the file is missing."""
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
    """Read from the current position to the end, up to the size limit of an item; `size` is the expected size."""
    chunk = os.read(fd, size + 1)  # one more, so that the first read already shows the end
    if len(chunk) == size:
        return chunk
    chunks, room = [chunk], LARGEST - len(chunk)
    while room > 0 and (chunk := os.read(fd, min(65536, room))):
        chunks.append(chunk)
        room -= len(chunk)
    return b"".join(chunks)


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Read up to `size` bytes at `offset`."""
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
    """Return a `read_at` for sequential reading: small reads are served from a larger one."""
    begin, held = 0, b""

    def read(offset: int, size: int) -> bytes:
        nonlocal begin, held
        if not begin <= offset <= offset + size <= begin + len(held):
            begin, held = offset, read_at(fd, offset, max(size, 65536))
        return held[offset - begin : offset - begin + size]

    return read


def size_of_fd(fd: int) -> tuple[int, int]:
    """Return the size of the open file, and its number of hard links."""
    found = os.fstat(fd)
    return found.st_size, found.st_nlink


def write_all(fd: int, content: bytes) -> None:
    """Write everything at the current position."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_at(fd: int, offset: int, content: bytes) -> None:
    """Write everything at `offset`."""
    os.lseek(fd, offset, os.SEEK_SET)
    write_all(fd, content)


def cut(fd: int, size: int) -> None:
    """Truncate the open file to this size."""
    os.ftruncate(fd, size)


def close(fd: int) -> None:
    """Close the descriptor."""
    os.close(fd)
