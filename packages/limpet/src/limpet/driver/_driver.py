"""The contract: an ordered map of keys to versioned values, in three verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Final, Literal, Self, final

from .._errors import UnsupportedError
from ._capabilities import Capabilities
from ._types import Append, Batch, Check, Health, Item, Key, Outcome, Page, Put, Range, Unit

__all__ = ["VERBS", "Driver"]

VERBS: Final[Mapping[str, Literal["reads", "writes"]]] = MappingProxyType(
    {
        "get": "reads",
        "scan": "reads",
        "watch": "reads",
        "health": "reads",
        "commit": "writes",
        "clear": "writes",
        "purge": "writes",
    }
)
"""What each verb does to the stored data. `health` writes only if it is called with `probe=True`."""


class Driver(ABC):
    """What Limpet asks of a backend. Authors subclass `BaseDriver`; wrappers subclass `Wrapper`.

    Every key is encoded (see `limpet.driver.key`). Every call can raise `UnavailableError` (worth a retry),
    `ClosedError`, `ForeignLoopError`, `ForkedError`, `InvalidKeyError`, `TooLargeError` and `CorruptDataError`.
    A driver belongs to the event loop and the process that opened it.
    """

    capabilities: Capabilities
    """Exact after `open`. The class attribute is the upper bound."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether `open` succeeded and `close` was not called. Whoever opens a driver closes it."""

    @property
    def tls_problem(self) -> str | None:
        """Return why others on the network could read or change what is sent, and what to do; `None` if nobody can.

        `require_tls` refuses a driver with such a problem. Known before `open`.
        """
        return f"{type(self).__name__} does not say whether its connections are protected by TLS"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the driver that a URL describes, without any I/O."""
        raise UnsupportedError(f"{cls.__name__} cannot be created from a URL: create it in code and pass the object")

    @abstractmethod
    async def open(self) -> None:
        """Connect and find out the capabilities. Opening an open driver does nothing; a closed one stays closed."""

    @abstractmethod
    async def close(self) -> None:
        """Wait for calls under way, then free everything that `open` acquired. Closing twice does nothing."""

    # The three verbs.

    @abstractmethod
    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        """Return one item or `None` for each key, in order, in one round trip and as one snapshot.

        Sees every write by any process that returned before this call. A key may occur twice.
        """

    @abstractmethod
    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        """Apply independent units, each all or nothing; return one outcome for each, in order.

        A unit is a batch, or an `Append`. Batches are serializable. The outcome of a unit is `None` if the batch was
        applied, once; the first number of an append; or an exception that says why the unit was not applied.
        `ConflictError` (names at least one key, each of which failed), an exceeded limit and `UnavailableError` mean
        that nothing was written. `OutcomeUnknownError` means once or not at all, possibly a moment later, and so does a
        cancelled call. Only errors that concern every unit are raised, such as `ClosedError`. Units may be applied in
        any order. If `capabilities.atomic` is `item`, a batch of
        two writes has the outcome `UnsupportedError`.
        """

    @abstractmethod
    async def scan(self, range: Range) -> Page:
        """Return one page of a range, as a snapshot; nothing stays open.

        A page may be short or empty: only `next is None` is the end; otherwise continue with `range.beyond(page)`.
        Across pages, an item that exists throughout is returned exactly once, any other at most once.
        """

    # The same for one unit. These are final, so a wrapper that overrides `commit` sees every write.

    @final
    async def apply(self, batch: Batch) -> None:
        """Commit one batch, and raise its outcome if it was not applied."""
        (outcome,) = await self.commit((batch,))
        if isinstance(outcome, Exception):
            raise outcome

    @final
    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        """Commit one `Append`, and return the first number, or raise the outcome."""
        (outcome,) = await self.commit((Append(log, tuple(puts), check),))
        if isinstance(outcome, int):
            return outcome
        raise outcome or AssertionError("an append was applied without a number")

    # Maintenance.

    @abstractmethod
    async def clear(self, base: Key) -> int:
        """Delete all descendants of `base`, but not `base` itself; return how many. Not atomic, safe to repeat."""

    @abstractmethod
    async def purge(self) -> int:
        """Free the space of expired items now; return how many. They are invisible in any case."""

    @abstractmethod
    async def health(self, *, probe: bool = False) -> Health:
        """Check that the backend responds, and return what an operator should know. Writes nothing without `probe`."""

    @abstractmethod
    def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        """Iterate over notifications about changes below `base`: a set of keys, or `None` for "look again".

        `None` comes first, once the watch is live, and after every reconnect. Notifications can be repeated or lost,
        and expiry causes none: read by cursor, and look every few seconds anyway. Raises `UnsupportedError` if
        `capabilities.watch` is not declared.
        """

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
