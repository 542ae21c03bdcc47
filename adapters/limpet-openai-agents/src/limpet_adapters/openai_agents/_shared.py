"""One open database for all sessions of a URL in this process."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING

from limpet import open_persistence, sync

if TYPE_CHECKING:
    from limpet import Persistence

__all__ = ["borrow", "give_back"]

_lock = Lock()
_open: dict[tuple[int, str], tuple[Persistence, int]] = {}


def borrow(url: str) -> Persistence:
    """The database at a URL, which every borrower in this process shares. `memory://` is a new one for each."""
    if url.startswith("memory:"):
        return open_persistence(url)
    at = (os.getpid(), url)
    with _lock:
        found, borrowers = _open.get(at, (None, 0))
        persistence = open_persistence(url) if found is None else found
        _open[at] = (persistence, borrowers + 1)
    return persistence


def give_back(url: str, persistence: Persistence) -> None:
    """Close it with its last borrower."""
    at = (os.getpid(), url)
    with _lock:
        found, borrowers = _open.get(at, (None, 1))
        if found is persistence and borrowers > 1:
            _open[at] = (persistence, borrowers - 1)
            return
        if found is persistence:
            del _open[at]
    sync.Persistence.of(persistence).close()
