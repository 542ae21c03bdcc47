"""Recovery: completing the files from the journal after a writer died, without undoing what people changed since.

A file contains what the journal says, or what a dead writer or a power failure left, or what someone wrote
since. Recovery tells these apart by content, never by age, since clocks are set back:

    left    the content of an earlier round in the journal, or what was on record when the journal began;
            or the file that a round found and replaced: it has the size and the time of change noted there;
            or what a power failure makes of a round's content: its beginning, or zeros in place of some of it
    since   anything else. It is kept

So an edit is kept, unless it restored what was there just before.
"""

from __future__ import annotations

from collections.abc import Sequence

from limpet._errors import ConfigurationError, LimpetError
from limpet.driver import Key

from ._client import Files
from ._contents import understood
from ._errors import concerns_one_folder, translated
from ._frames import Change, Entry
from ._layout import KINDS, place_of
from ._ledger import NEW, Ledger
from ._tree import make_parents, prune

__all__ = ["let_files_follow", "not_followed"]

_RESTORED = f"{NEW}/restored"
_BLOCK = 512
"""Disks never write less than this at once."""


def let_files_follow(files: Files, ledger: Ledger, changes: Sequence[Change]) -> dict[Key, LimpetError]:
    """Bring the files up to date with these changes of the journal; return an error for each key that failed.

    Raises `OSError` if it fails for a reason that concerns no single key, such as a full disk.
    """
    rounds = _by_key(changes)
    recovery = _Recovery(files, ledger, set(rounds))
    failed: dict[Key, LimpetError] = {}
    for key, history in rounds.items():
        try:
            recovery.follow(history)
        except ConfigurationError as error:  # something is in the way
            failed[key] = error
        except OSError as error:
            if not concerns_one_folder(error):
                raise
            failed[key] = translated(error)
    return failed


def not_followed(files: Files, ledger: Ledger, changes: Sequence[Change]) -> dict[Key, Change]:
    """Return the changes that the files lack: a read-only driver reads these keys from the journal instead."""
    rounds = _by_key(changes)
    recovery = _Recovery(files, ledger, set(rounds))
    return {key: history[-1] for key, history in rounds.items() if recovery.is_behind(history)}


def _by_key(changes: Sequence[Change]) -> dict[Key, list[Change]]:
    rounds: dict[Key, list[Change]] = {}
    for change in changes:
        rounds.setdefault(change.key, []).append(change)
    return rounds


class _Recovery:
    def __init__(self, files: Files, ledger: Ledger, keys: set[Key]) -> None:
        self._files = files
        self._ledger = ledger
        self._keys = keys
        self._recorded: dict[Key, Entry] | None = None

    def follow(self, history: Sequence[Change]) -> None:
        """Bring the files of one key up to date with the last of its changes."""
        files, last = self._files, history[-1]
        place = place_of(last.key)
        kept, content, restore, left = self._look(history)
        if restore:
            make_parents(files, place.folder)
            # Synced before the rename, so that another power failure leaves either the old content or the new.
            files.write(_RESTORED, content, sync=True)
            files.replace(_RESTORED, f"{place.path}.{kept}")
        for kind in left:
            files.remove(f"{place.path}.{kind}")
        if left and kept is None:
            prune(files, place.folder)

    def is_behind(self, history: Sequence[Change]) -> bool:
        """Return whether `follow` would change what is read."""
        kept, _, restore, left = self._look(history)
        return restore or (kept is None and bool(left))

    def _look(self, history: Sequence[Change]) -> tuple[str | None, bytes, bool, list[str]]:
        """Return the right kind and content, whether they have to be restored, and the kinds to remove."""
        files, last = self._files, history[-1]
        place = place_of(last.key)
        standing = {kind: found for kind in KINDS if (found := files.kind(f"{place.path}.{kind}")) is not None}
        kept = None if last.entry is None else last.entry.kind
        content = b"" if kept is None else self._ledger.content(last)
        right = kept in standing and self._content(f"{place.path}.{kept}") == content
        left = [kind for kind in standing if not (kind == kept and right) and self._is_left(place.path, kind, history)]
        restore = False
        if kept is not None and not right:
            # Otherwise someone wrote to it since, or put a file of another kind there.
            restore = kept in left if kept in standing else len(left) == len(standing)
        gone = left if right or restore or kept is None else []
        return kept, content, restore, [kind for kind in gone if kind != kept]

    def _is_left(self, path: str, kind: str, history: Sequence[Change]) -> bool:
        seen = self._files.seen(f"{path}.{kind}")
        if seen is None:
            return False  # a link or a folder: not Limpet's
        if any(change.before.get(kind) == seen for change in history):
            return True
        content = self._content(f"{path}.{kind}")
        if content is None:
            return False
        for change in history:
            written = change.entry is not None and change.entry.kind == kind and len(content) <= change.span[1]
            if written and _remains(content, self._ledger.content(change)):
                return True
        recorded = self._record(history[0].key)
        return recorded is not None and recorded.kind == kind and understood(kind, content, recorded.digest)[1]

    def _record(self, key: Key) -> Entry | None:
        if self._recorded is None:
            self._recorded = self._ledger.recorded(self._keys)
        return self._recorded.get(key)

    def _content(self, path: str) -> bytes | None:
        found = self._files.read(path)
        return None if found is None else found[0]


def _remains(found: bytes, written: bytes) -> bool:
    """Return whether this was written, or is what a power failure left of it: some parts, and zeros for the rest."""
    if len(found) > len(written):
        return False
    if written.startswith(found):
        return True
    parts = ((found[start : start + _BLOCK], written[start : start + _BLOCK]) for start in range(0, len(found), _BLOCK))
    return all(written_there.startswith(part) or not part.strip(b"\0") for part, written_there in parts)
