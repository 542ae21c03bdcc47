"""The contract: an ordered map of keys to versioned values, in three verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from .._errors import UnsupportedError
from . import _defaults
from ._capabilities import Capabilities
from ._types import Append, Batch, Check, Health, Item, Key, Page, Put, Verdict, Work

__all__ = ["Driver"]


class Driver(ABC):
    """What Limpet asks of a backend. Authors subclass `BaseDriver`; wrappers subclass `Wrapper`.

    Every key is encoded (`limpet.driver.key`). Every call may raise `UnavailableError` (worth a retry),
    `ClosedError`, `ForeignLoopError`, `InvalidKeyError`, `TooLargeError` and `CorruptDataError`.
    A driver belongs to the event loop on which it was opened.
    """

    capabilities: Capabilities
    """Exact after `open`; the class attribute is its upper bound."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether `open` succeeded and `close` was not called: who opens a driver is who closes it."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The driver that a URL describes. No IO."""
        raise UnsupportedError(f"{cls.__name__} cannot be made from a URL: make it in code and pass the object")

    @abstractmethod
    async def open(self) -> None:
        """Connect and find out the capabilities. Opening an open driver does nothing; a closed one stays closed."""

    @abstractmethod
    async def close(self) -> None:
        """Let calls under way finish, then free everything that `open` took. Closing twice does nothing."""

    @abstractmethod
    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        """One item or `None` for each key, in the order asked, in one round trip, as one snapshot.

        Whatever any `apply` returned from before this call is seen, whoever made it. A key may be asked twice.
        """

    @abstractmethod
    async def apply(self, batch: Batch) -> None:
        """Apply a serialisable batch: all of it or nothing, conditions judged against one state.

        Returns: applied, once. Raises `ConflictError` (names at least one key, each one did fail), a limit or
        `UnavailableError`: never applied. Raises `OutcomeUnknownError`, or is cancelled: once or not at all,
        possibly a moment later. Where `capabilities.atomic` is `item`, a batch of two is an `UnsupportedError`.
        """

    @abstractmethod
    async def scan(
        self,
        base: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        reverse: bool = False,
        limit: int = 100,
        values: bool = True,
    ) -> Page:
        """One page of the items below `base` (`""`: of all), where `after < key < before`, in key order.

        All descendants come, `base` itself does not. The page is a snapshot and holds nothing open. It may be
        short or empty: only `next is None` is the end, else continue with `after=page.next` (in reverse
        `before=page.next`). Across pages an item that was there throughout comes once, any other at most once.
        """

    # Optional, each with a correct default but `watch`.

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        """Apply independent units in any order; never raises for one of them but answers in its place.

        Not promised: that units see each other's effects in the order given.
        """
        return [await _defaults.verdict(self, unit) for unit in work]

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        """Number `puts` from the counter at `log` and store each at `put.key!<number>`; answer the first number.

        One atomic step, refused with `ConflictError` unless `check` holds. Number n is never visible before n-1.
        The counter's key ends with the name `n`: so a wrapper that seals values knows which one backends have to read.
        The default is compare-and-set with jitter: correct everywhere, not fair between processes.
        """
        return await _defaults.append(self, Append(log, tuple(puts), check))

    async def clear(self, base: Key) -> int:
        """Delete all descendants of `base`, not `base` itself; answer how many. Not atomic, safe to repeat."""
        return await _defaults.clear(self, base)

    async def purge(self) -> int:
        """Free the space of expired items now; answer how many. Nothing sees them either way."""
        return 0

    async def health(self) -> Health:
        """Ask the backend for a sign of life and what an operator should know.

        The default writes an item that expires after a second and reads it back; a driver of one's own says more.
        """
        return await _defaults.health(self)

    def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        """Hints about changes below `base`: a set of keys, or `None` for "look again".

        `None` comes first, once the watch is live, and after every reconnect. Hints may come twice or be lost,
        and expiry sends none: read by cursor, and look every few seconds anyway.
        """
        raise UnsupportedError(f"{type(self).__name__} does not declare 'watch': read again every few seconds instead")

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
