"""Sync files to disk in the background, to keep the journal short.

While the driver's thread is idle, files are synced one by one, without the lock. If a file changes meanwhile, that
change is in a later round of the journal, which the next journal keeps. Only replacing the journal at the end takes
the lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from limpet._errors import LimpetError

from ._commands import Store
from ._layout import KINDS, place_of
from ._tree import ancestors

__all__ = ["Checkpoints"]

_DELAY = 5.0
"""Minimum seconds that a write stays in the journal, so that a burst makes one checkpoint."""
_MANY = 500
"""With more changed files than this, the whole file system is synced instead, if the system can do that."""
_LONGEST = 64 * 1024 * 1024
"""Journal size in bytes above which a writer waits for the checkpoint."""


class Checkpoints:
    """Decides when one driver makes checkpoints, and makes them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since: float | None = None
        self._steps: Iterator[None] | None = None
        self.trouble: str | None = None
        """Why the last checkpoint failed. Nothing is lost: the journal contains it."""
        store.before_writing = self._before_writing

    def owe(self) -> None:
        """Note that the journal contains something that this driver wrote or found."""
        if self._since is None and self._store.ledger.pending:
            self._since = time.monotonic()

    def idle(self) -> float | None:
        """Do one step and return the seconds until the next; `None`: nothing to do until the next write."""
        if self._since is None:
            return None
        if self._steps is None:
            early = self._since + _DELAY - time.monotonic()
            if early > 0:
                return early
            self._steps = self._checkpoint(locked=False)
        try:
            next(self._steps)
        except StopIteration:
            self._steps = self.trouble = None
        except (OSError, LimpetError) as error:
            self._steps = None
            self.trouble = str(error)
            self._since = time.monotonic()
            return _DELAY
        return 0

    def finish(self) -> None:
        """Leave the journal empty, if it needs a checkpoint."""
        if self._since is not None:
            self._steps = None
            for _ in self._checkpoint(locked=False):
                pass

    def _before_writing(self) -> None:
        ledger = self._store.ledger
        if not ledger.usable or ledger.end > _LONGEST:
            self._steps = None
            for _ in self._checkpoint(locked=True):
                pass
        self._since = self._since or time.monotonic()

    def _checkpoint(self, *, locked: bool) -> Iterator[None]:
        ledger = self._store.ledger
        self._store.check_followed()
        begun, upto = (ledger.generation, self._store.recoveries), ledger.end
        yield from self._sync(dict(ledger.pending))
        if locked:
            ledger.checkpoint(upto)
        else:
            with self._store.held(shared=False):
                # Otherwise another process made a checkpoint, or files changed that were not synced: try again a little
                # later.
                if (ledger.generation, self._store.recoveries) == begun:
                    ledger.checkpoint(upto)
        self._since = time.monotonic() if ledger.pending else None

    def _sync(self, pending: dict[str, object]) -> Iterator[None]:
        files = self._store.files
        if len(pending) > _MANY and files.sync_everything():
            return
        folders = {""}
        for key, entry in pending.items():
            place = place_of(key)
            folders.update(ancestors(place.folder))
            if entry is not None:
                # The recorded file, or what a person made of it: a reader would find either.
                for kind in KINDS:
                    if files.sync(f"{place.path}.{kind}"):
                        yield
        for folder in sorted(folders):
            files.sync_folder(folder)
            yield
