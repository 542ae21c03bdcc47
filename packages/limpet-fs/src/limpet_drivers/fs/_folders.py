"""The folders below the base, open: what is done to a file is done by its name in the descriptor of its folder.

Each is opened by its name in the one around it, and never through a symbolic link. A descriptor cannot be exchanged for
another folder while it is used; whether it still is the folder at its path is looked at again when the lock was
taken (`begin`). Where a system cannot do that (Windows), each folder is looked at just before its path is used.
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
"""Bytes of a file that may be an item: twice the largest value, for who lays out JSON by hand."""
_FLAGS = sum(getattr(os, name, 0) for name in ("O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
_DESCRIPTORS = {os.open, os.stat, os.mkdir, os.rename, os.rmdir, os.unlink} <= os.supports_dir_fd
_KEPT = 128
"""Folders that stay open."""
_IN_USE = 8
"""Of those, the ones that a single operation may be using."""
_NOWHERE = ("", ".", "..")


@dataclass(slots=True)
class Folder:
    """A folder that is open (`fd`), and when it was last seen at its path."""

    fd: int | None
    found: os.stat_result
    epoch: int


class Folders:
    """Those of one base, each opened when it is first needed."""

    def __init__(self, root: str, at: Callable[[str], str]) -> None:
        """`root` is the base's path, and `at` gives that of a path below it."""
        self._root = root
        self._at = at
        self._open: OrderedDict[str, Folder] = OrderedDict()
        self._epoch = 0

    @property
    def are_open(self) -> bool:
        """Whether this system can do what is done here with descriptors."""
        return _DESCRIPTORS

    def begin(self) -> None:
        """Somebody else may have changed the folders since: look again where each of them is."""
        self._epoch += 1

    def close(self) -> None:
        """Give the descriptors back."""
        for path in list(self._open):
            self._drop(path)

    def __del__(self) -> None:
        self.close()

    def is_folder(self, path: str) -> bool:
        """Whether this and everything around it, below the base, are folders and not links to somewhere else."""
        try:
            self.folder(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def descriptor(self, path: str) -> int:
        """Of a folder, as it is now. It belongs to this object."""
        self.begin()
        fd = self.folder(path).fd
        assert fd is not None, "asked for where folders can be opened"
        return fd

    def device(self, path: str) -> int:
        """Of the file system that a folder is on."""
        return self.folder(path).found.st_dev

    def check_writable(self, path: str) -> None:
        """Raises `PermissionError` for a folder in which we may not change names."""
        folder = self.folder(path)
        if folder.fd is not None and not os.access(
            ".", os.W_OK | os.X_OK, dir_fd=folder.fd, effective_ids=os.access in os.supports_effective_ids
        ):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self._at(path))

    def folder(self, path: str) -> Folder:
        """The folder at a path, open. Raises `FileNotFoundError` or, where something else is, `NotADirectoryError`."""
        known = self._open.get(path)
        if known is not None and known.epoch == self._epoch:
            self._open.move_to_end(path)
            return known
        around, name = self.around(path)
        known = self._open.get(path)  # it may have made room for a folder around it
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
        """The folder of a path, and the name in it; where folders cannot be opened, `None` and the system's path."""
        if not path:
            return None, self._root
        folder, _, name = path.rpartition("/")
        if name in _NOWHERE:
            raise CorruptDataError(f"{path!r} is not the name of a file below {self._root}")
        fd = self.folder(folder).fd
        return fd, name if fd is not None else self._at(path)

    def below(self, path: str) -> tuple[int | None, str]:
        """The base, and a path in it: only for what may follow a link that comes between, and harms nobody by that."""
        fd = self.folder("").fd
        return (None, self._at(path)) if fd is None else (fd, path or ".")

    def _keep(self, path: str, folder: Folder) -> Folder:
        self._open[path] = folder
        if len(self._open) > _KEPT:
            self._drop(next(iter(self._open)))
        return folder

    def _drop(self, path: str, unless: os.stat_result | None = None) -> None:
        """Forget a folder, unless it still is where this was found."""
        known = self._open[path]
        if unless is not None and (unless.st_ino, unless.st_dev) == (known.found.st_ino, known.found.st_dev):
            known.found, known.epoch = unless, self._epoch
            return
        del self._open[path]
        if known.fd is not None:
            os.close(known.fd)

    def look(self, name: str, around: int | None) -> os.stat_result | None:
        """What has a name in a folder; `None` for nothing."""
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
        """Close some, for a process that has too many open files; raises any other error again."""
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise error
        for path in list(self._open)[:-_IN_USE]:  # they are only kept to be fast
            self._drop(path)

    def removed(self, path: str) -> None:
        """There is no folder at a path any more."""
        if path in self._open:
            self._drop(path)


def kind_of(found: os.stat_result | None) -> str | None:
    """`file`, `folder`, `other` (a link, a device, a pipe, a file too large for an item) or `None` for nothing."""
    if found is None:
        return None
    if getattr(found, "st_reparse_tag", 0) == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1):
        return "other"  # a junction: Windows' other link between folders
    if stat.S_ISREG(found.st_mode):
        return "file" if found.st_size <= LARGEST else "other"
    return "folder" if stat.S_ISDIR(found.st_mode) else "other"
