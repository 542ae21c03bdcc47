"""Turn a group of batches into files. What can fail is done before the journal is written, the rest after."""

from __future__ import annotations

from collections.abc import Sequence

from limpet._errors import ConfigurationError
from limpet.driver import Key
from limpet.driver.kit import Record

from ._client import Files
from ._contents import digest_of, shown
from ._frames import Change, Entry
from ._layout import KINDS, place_of
from ._ledger import NEW
from ._tree import Tree, make_parents, prune

__all__ = ["Placing"]


class Placing:
    """Moves the files of rounds into place. Callers hold the lock."""

    def __init__(self, files: Files, tree: Tree) -> None:
        self._files = files
        self._tree = tree
        self._checked: set[str] = set()

    def begin(self) -> None:
        """Start another round: folders are checked again."""
        self._checked.clear()

    def prepare(self, number: int, key: Key, record: Record | None) -> Change:
        """Do everything that can fail for lack of space or permissions before the change is journalled."""
        place = place_of(key)
        if record is not None:
            self._files.check_length(f"{place.path}.json")
            make_parents(self._files, place.folder)
        before = {kind: seen for kind in KINDS if (seen := self._files.seen(f"{place.path}.{kind}")) is not None}
        if record is not None or before:
            self._check_folder(place.folder)
        if record is None:
            return Change(key, None, before=before)
        assert record.value is not None
        kind, content = shown(record.value)
        target = f"{place.path}.{kind}"
        if kind not in before and self._files.kind(target) is not None:
            raise ConfigurationError(
                f"{self._files.at(target)} is a folder, a link or larger than an item can be, but an item belongs "
                "there: move it away"
            )
        self._files.write(f"{NEW}/{number}", content)
        entry = Entry(kind, record.etag, record.updated_at, record.expires_at, digest_of(record.value))
        return Change(key, entry, content, before)

    def _check_folder(self, folder: str) -> None:
        """Check that names can be added and removed in a folder, once per round."""
        if folder in self._checked:
            return
        folders = self._files.folders
        if folders.device(folder) != folders.device(NEW):
            raise ConfigurationError(
                f"{self._files.at(folder)} is on another file system than {self._files.base}, so a batch could not be "
                "written to both at once: unmount it, or open it as a separate database"
            )
        folders.check_writable(folder)
        self._checked.add(folder)

    def may_change(self, key: Key) -> bool:
        """Return whether Limpet's own writes can include this key: a bad folder must only fail calls that use it."""
        folder = place_of(key).folder
        try:
            if self._files.folders.is_folder(folder):
                self._check_folder(folder)
        except (OSError, ConfigurationError):
            return False
        return True

    def put_in_place(self, changes: Sequence[Change]) -> None:
        added: dict[str, set[str]] = {}
        removed: dict[str, set[str]] = {}
        places = [place_of(change.key) for change in changes]
        current = {folder for folder in {place.folder for place in places} if self._tree.is_current(folder)}
        for number, (change, place) in enumerate(zip(changes, places, strict=True)):
            kept = None if change.entry is None else change.entry.kind
            if kept is not None:
                self._files.replace(f"{NEW}/{number}", f"{place.path}.{kept}")
                added.setdefault(place.folder, set()).add(f"{place.stem}.{kept}")
            for kind in change.before:
                if kind != kept and self._files.remove(f"{place.path}.{kind}"):
                    removed.setdefault(place.folder, set()).add(f"{place.stem}.{kind}")
        for folder in {place.folder for place, change in zip(places, changes, strict=True) if change.entry is None}:
            prune(self._files, folder)
        for folder in current:
            self._tree.changed_here(folder, added.get(folder, set()), removed.get(folder, set()))
