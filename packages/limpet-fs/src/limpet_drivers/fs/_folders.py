"""Open descriptors of the folders below the base. Files are accessed by name, relative to their folder's descriptor.

Each folder is opened by name relative to its parent, and never through a symbolic link. An open descriptor cannot be
replaced by another folder; whether it is still the folder at its path is checked each time the lock is
taken (`begin`). On systems without this (Windows), each folder is checked just before its path is used.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from limpet._errors import CorruptDataError

__all__ = ["LARGEST", "Folder", "Folders", "kind_of"]

LARGEST = 64 * 1024 * 1024
"""Largest file, in bytes, that can be an item: twice the largest value, for people who format JSON by hand."""
_FLAGS = sum(getattr(os, name, 0) for name in ("O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
_DESCRIPTORS = {os.open, os.stat, os.mkdir, os.rename, os.rmdir, os.unlink} <= os.supports_dir_fd
_KEPT = 128
"""How many folders stay open."""
_IN_USE = 8
"""How many of these a single operation may be using."""
_NOWHERE = ("", ".", "..")


@dataclass(slots=True)
class Folder:
    """An open folder (`fd`), and when it was last seen at its path."""

    fd: int | None
    found: os.stat_result
    epoch: int


class Folders:
    """The folders of one base, each opened when it is first needed."""

    def __init__(self, root: str, at: Callable[[str], str]) -> None:
        """`root` is the path of the base; `at` returns the full path of a path below it."""
        self._root = root
        self._at = at
        self._open: OrderedDict[str, Folder] = OrderedDict()
        self._epoch = 0

    @property
    def are_open(self) -> bool:
        """Whether this system supports these operations on descriptors."""
        return _DESCRIPTORS

    def begin(self) -> None:
        """Check again where each folder is, since other processes may have changed them."""
        self._epoch += 1

    def close(self) -> None:
        """Close the descriptors."""
        for path in list(self._open):
            self._drop(path)

    def __del__(self) -> None:
        self.close()

    def is_folder(self, path: str) -> bool:
        """Return whether this path and all its parents below the base are folders, not links to somewhere else."""
        try:
            self.folder(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def descriptor(self, path: str) -> int:
        """Return the descriptor of a folder, as it is now. It belongs to this object."""
        self.begin()
        fd = self.folder(path).fd
        assert fd is not None, "asked for where folders can be opened"
        return fd

    def device(self, path: str) -> int:
        """Return the device number of the file system that contains a folder."""
        return self.folder(path).found.st_dev

    def check_writable(self, path: str) -> None:
        """Raise `PermissionError` for a folder in which this process cannot add or remove names."""
        folder = self.folder(path)
        if folder.fd is not None and not os.access(
            ".", os.W_OK | os.X_OK, dir_fd=folder.fd, effective_ids=os.access in os.supports_effective_ids
        ):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self._at(path))

    def folder(self, path: str) -> Folder:
        """Return the open folder at a path.

        Raises `FileNotFoundError`, or `NotADirectoryError` if something else is there.
        """
        known = self._open.get(path)
        if known is not None and known.epoch == self._epoch:
            self._open.move_to_end(path)
            return known
        around, name = self.around(path)
        known = self._open.get(path)  # it may have been closed to open one of its parents
        if known is not None:
            self._drop(path, unless=self.look(name, around))
            if path in self._open:
                return known
        if not _DESCRIPTORS:  # pragma: no cover - the workflow's Windows job runs this, and a test of ours
            found = self.look(name, around)
            if kind_of(found) != "folder" or found is None:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._at(path))
            return self._keep(path, Folder(None, found, self._epoch))
        try:
            fd = self._descriptor(name, around)
        except OSError as error:
            error.filename = self._at(path)
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._at(path)) from error
            raise
        return self._keep(path, Folder(fd, os.fstat(fd), self._epoch))

    def around(self, path: str) -> tuple[int | None, str]:
        """Return a path's folder and its name in it; where folders cannot be opened, `None` and the system's path."""
        if not path:
            return None, self._root
        folder, _, name = path.rpartition("/")
        if name in _NOWHERE:
            raise CorruptDataError(f"{path!r} is not the name of a file below {self._root}")
        fd = self.folder(folder).fd
        return fd, name if fd is not None else self._at(path)

    def below(self, path: str) -> tuple[int | None, str]:
        """Return the base and a path in it. Only for uses where following a link on the way does no harm."""
        fd = self.folder("").fd
        return (None, self._at(path)) if fd is None else (fd, path or ".")

    def _keep(self, path: str, folder: Folder) -> Folder:
        self._open[path] = folder
        if len(self._open) > _KEPT:
            self._drop(next(iter(self._open)))
        return folder

    def _drop(self, path: str, unless: os.stat_result | None = None) -> None:
        """Forget a folder, unless it is still where it was found."""
        known = self._open[path]
        if unless is not None and (unless.st_ino, unless.st_dev) == (known.found.st_ino, known.found.st_dev):
            known.found, known.epoch = unless, self._epoch
            return
        del self._open[path]
        if known.fd is not None:
            os.close(known.fd)

    def look(self, name: str, around: int | None) -> os.stat_result | None:
        """Return the stat result of a name in a folder; `None` if missing."""
        try:
            return os.stat(name, dir_fd=around, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _descriptor(self, name: str, around: int | None) -> int:
        try:
            return os.open(name, _FLAGS, dir_fd=around)
        except OSError as error:
            self.make_room(error)
            return os.open(name, _FLAGS, dir_fd=around)

    def make_room(self, error: OSError) -> None:
        """Close some folders if the process has too many open files; raise any other error again."""
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise error
        for path in list(self._open)[:-_IN_USE]:  # they are only kept for speed
            self._drop(path)

    def removed(self, path: str) -> None:
        """Note that there is no longer a folder at a path."""
        if path in self._open:
            self._drop(path)


def kind_of(found: os.stat_result | None) -> str | None:
    """Return `file`, `folder`, `other` (a link, device, pipe, or file too large for an item), or `None` if missing."""
    if found is None:
        return None
    if getattr(found, "st_reparse_tag", 0) == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1):
        return "other"  # a junction, Windows' other kind of link between folders
    if stat.S_ISREG(found.st_mode):
        return "file" if found.st_size <= LARGEST else "other"
    return "folder" if stat.S_ISDIR(found.st_mode) else "other"
