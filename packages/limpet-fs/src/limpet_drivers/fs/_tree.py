"""Create and remove folders around the files, and find the files that people add."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from limpet._errors import ConfigurationError
from limpet.driver import Key

from ._client import Files
from ._layout import could_be_folder, key_at

__all__ = ["Tree", "ancestors", "make_parents", "prune"]

_COARSE = 2.1
"""In seconds.

FAT stores modification times to two seconds, so a folder that has just changed may change again unnoticed.
"""
_LITTLE = 0.005
"""Seconds that a page may always spend looking for other people's files: enough for a few thousand folders."""
_SHARE = 20
"""Beyond that, looking takes at most one part in this many of the time."""
_REMEMBERED = 1024


def ancestors(folder: str) -> list[str]:
    """Return a folder and its parents, outermost first, without the base."""
    names = folder.split("/") if folder else []
    return ["/".join(names[: depth + 1]) for depth in range(len(names))]


def make_parents(files: Files, folder: str) -> None:
    """Create a folder and its parents. Raises `ConfigurationError` if something else has the name of one."""
    if files.folders.is_folder(folder):
        return
    for path in ancestors(folder):
        if files.kind(path) == "folder" or files.make_folder(path):
            continue
        raise ConfigurationError(
            f"{files.at(path)} is a file or a link, but an item needs a folder there: move it away"
        )


def prune(files: Files, folder: str) -> None:
    """Remove a folder and then its parents, as long as they are empty; the base stays."""
    for path in reversed(ancestors(folder)):
        if not files.remove_folder(path):
            return


@dataclass(slots=True)
class _Folder:
    signature: tuple[int, int]
    again_at: float
    """When to list it again, on the monotonic clock, since a coarse file clock can hide a change."""
    names: set[str] = field(default_factory=set)
    folders: list[str] = field(default_factory=list)


class Tree:
    """What is known of the folders: enough to find added files by checking only folders."""

    def __init__(self, files: Files, found: Callable[[Key], None]) -> None:
        """`found` is called with each key whose file was not known."""
        self._files = files
        self._found = found
        self._folders: dict[str, _Folder] = {}
        self._looked: dict[str, tuple[float, float]] = {}

    def look(self, base: str) -> None:
        """Find new files below a folder.

        If looking takes long, look less often, so that it takes at most a twentieth.
        """
        last, cost = self._looked.get(base, (0.0, 0.0))
        if cost > _LITTLE and time.monotonic() - last < _SHARE * cost:
            return
        begin = time.thread_time()
        self._descend(base)
        if len(self._looked) >= _REMEMBERED:
            self._looked.clear()
        self._looked[base] = (time.monotonic(), time.thread_time() - begin)

    def _descend(self, base: str) -> None:
        if not self._files.folders.is_folder(base):
            return
        waiting = [base]
        while waiting:
            path = waiting.pop()
            signature = self._files.signature(path)
            if signature is None:
                self._folders.pop(path, None)
                continue
            known = self._folders.get(path)
            if known is None or known.signature != signature or time.monotonic() >= known.again_at:
                known = self._list(path, signature)
            waiting.extend(f"{path}/{name}" if path else name for name in known.folders)

    def _list(self, path: str, signature: tuple[int, int]) -> _Folder:
        old = self._folders.get(path)
        before = old.names if old is not None else set()
        settled = old is not None and old.signature == signature
        folder = _Folder(signature, float("inf") if settled else time.monotonic() + _COARSE)
        for name, kind in self._names(path):
            if kind == "folder":
                if could_be_folder(name):
                    folder.folders.append(name)
            elif kind == "file":
                folder.names.add(name)
        for name in folder.names - before:
            key = key_at(path, name)
            if key is not None:
                self._found(key)
        self._folders[path] = folder
        return folder

    def _names(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield what is in a folder; nothing if it cannot be read, since reading known items in it reports that."""
        with suppress(PermissionError):
            yield from self._files.names(path)

    def is_current(self, path: str) -> bool:
        """Return whether nothing in the folder changed since it was listed."""
        known = self._folders.get(path)
        return known is not None and known.signature == self._files.signature(path)

    def changed_here(self, path: str, added: set[str], removed: set[str]) -> None:
        """Record our own change to a folder that was up to date, so that it need not be listed again."""
        known = self._folders.get(path)
        signature = self._files.signature(path)
        if known is None or signature is None:
            self._folders.pop(path, None)
            return
        known.names |= added
        known.names -= removed
        known.signature = signature
        known.again_at = min(known.again_at, time.monotonic() + _COARSE)

    def forget(self, path: str, names: set[str]) -> None:
        """Forget names that no longer exist: if they come back, they are new."""
        known = self._folders.get(path)
        if known is not None:
            known.names -= names
