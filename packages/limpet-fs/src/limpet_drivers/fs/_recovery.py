"""Letting the files follow the journal after their writer died, without undoing what people did since.

A file is written before its round enters the journal. So a file that differs from the journal and is younger than
the round was changed by somebody else and stays; one that is older is what the dead writer left.
"""

from __future__ import annotations

from collections.abc import Sequence

from limpet.driver import Key

from ._client import Files
from ._frames import Change
from ._layout import KINDS, place_of
from ._ledger import NEW
from ._tree import make_parents, prune

__all__ = ["let_files_follow"]

_RESTORED = f"{NEW}/restored"


def let_files_follow(files: Files, rounds: Sequence[tuple[int, Sequence[Change]]]) -> int:
    """Bring the files to what the rounds say, each with its time; answer how many had to be changed."""
    last: dict[Key, tuple[int, Change]] = {}
    for at, changes in rounds:
        for change in changes:
            last[change.key] = (at, change)
    return sum(_follow(files, at, change) for at, change in last.values())


def _follow(files: Files, at: int, change: Change) -> bool:
    place = place_of(change.key)
    standing = {kind: written for kind in KINDS if (written := files.written_at(f"{place.path}.{kind}")) is not None}
    if change.entry is None:
        changed = False
        for kind, written in standing.items():
            if written <= at:
                changed = files.remove(f"{place.path}.{kind}") or changed
        if changed:
            prune(files, place.folder)
        return changed
    target = f"{place.path}.{change.entry.kind}"
    others = [kind for kind in standing if kind != change.entry.kind and standing[kind] <= at]
    if change.entry.kind in standing:
        found = files.read(target)
        right = found is not None and found[0] == change.content
        if not right and standing[change.entry.kind] > at:
            return False
    else:
        right = False
        if len(others) < len(standing):
            return False  # somebody put a younger file of another kind in its place
    if not right:
        make_parents(files, place.folder)
        # Synced before it gets its name: after a loss of power in between, its age would speak for what is left of it.
        files.write(_RESTORED, change.content, sync=True)
        files.replace(_RESTORED, target)
    for kind in others:
        files.remove(f"{place.path}.{kind}")
    return not right or bool(others)
