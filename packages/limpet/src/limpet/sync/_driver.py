"""The driver, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ..driver import Batch, Capabilities, Check, Health, Item, Key, Outcome, Page, Put, Range, Unit
from ..driver import Driver as AsyncDriver
from ._face import Face

__all__ = ["Driver"]


class Driver(Face[AsyncDriver]):
    """The driver of a place: an ordered map of keys to versioned values, for code of your own (`limpet.driver`)."""

    @property
    def capabilities(self) -> Capabilities:
        """What this driver can do."""
        return self._inner.capabilities

    @property
    def is_open(self) -> bool:
        """Whether `open` succeeded and `close` was not called. Whoever opens a driver closes it."""
        return self._inner.is_open

    @property
    def tls_problem(self) -> str | None:
        """Return why others on the network could read or change what is sent, and what to do; `None` if nobody can.

        `require_tls` refuses a driver with such a problem. Known before `open`.
        """
        return self._inner.tls_problem

    def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        """Return one item or `None` for each key, in order, in one round trip and as one snapshot.

        Sees every write by any process that returned before this call. A key may occur twice.
        """
        return self._call(self._inner.get, keys, values=values)

    def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        """Apply independent units, each all or nothing; return one outcome for each, in order.

        A unit is a batch, or an `Append`. Batches are serializable. The outcome of a unit is `None` if the batch was
        applied, once; the first number of an append; or an exception that says why the unit was not applied.
        `ConflictError` (names at least one key, each of which failed), an exceeded limit and `UnavailableError` mean
        that nothing was written. `OutcomeUnknownError` means once or not at all, possibly a moment later, and so does a
        cancelled call. Only errors that concern every unit are raised, such as `ClosedError`. Units may be applied in
        any order. If `capabilities.atomic` is `item`, a batch of
        two writes has the outcome `UnsupportedError`.
        """
        return self._call(self._inner.commit, units)

    def scan(self, range: Range) -> Page:
        """Return one page of a range, as a snapshot; nothing stays open.

        A page may be short or empty: only `next is None` is the end; otherwise continue with `range.beyond(page)`.
        Across pages, an item that exists throughout is returned exactly once, any other at most once.
        """
        return self._call(self._inner.scan, range)

    def apply(self, batch: Batch) -> None:
        """Commit one batch, and raise its outcome if it was not applied."""
        self._call(self._inner.apply, batch)

    def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        """Commit one `Append`, and return the first number, or raise the outcome."""
        return self._call(self._inner.append, log, puts, check)

    def clear(self, base: Key) -> int:
        """Delete all descendants of `base`, but not `base` itself; return how many. Not atomic, safe to repeat."""
        return self._call(self._inner.clear, base)

    def purge(self) -> int:
        """Free the space of expired items now; return how many. They are invisible in any case."""
        return self._call(self._inner.purge)

    def health(self, *, probe: bool = False) -> Health:
        """Check that the backend responds, and return what an operator should know. Writes nothing without `probe`."""
        return self._call(self._inner.health, probe=probe)

    def watch(self, base: Key) -> Generator[frozenset[Key] | None, None, None]:
        """Iterate over notifications about changes below `base`: a set of keys, or `None` for "look again".

        `None` comes first, once the watch is live, and after every reconnect. Notifications can be repeated or lost,
        and expiry causes none: read by cursor, and look every few seconds anyway. Raises `UnsupportedError` if
        `capabilities.watch` is not declared.
        """
        return self._iterate(self._inner.watch(base))
