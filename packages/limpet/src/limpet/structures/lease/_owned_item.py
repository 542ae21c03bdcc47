"""An item that names the owner of something until it expires."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from ..._errors import ConflictError, LeaseLostError, LimpetError
from ..._printable import printable
from ...driver import Driver, Etag, If, Item, Key, Put, Write

__all__ = ["OwnedItem"]

_logger = logging.getLogger("limpet")

_TICK = 0.001
"""The backend's clock discards fractions of a millisecond, so an item may expire up to that much early."""


class OwnedItem:
    """The owner's side of an item that only its owner writes: `put` creates it, `write` changes it or what it protects.

    The token in the item distinguishes this owner from all others. `lost` is set as soon as it is known that the item
    expired or was taken over; `LeaseLostError` then has the message `lost_message`.
    """

    def __init__(self, driver: Driver, at: Key, token: str, ttl_ms: int, *, lost_message: str) -> None:
        self.put: Put = Put(at, token, If.ABSENT, ttl_ms)
        """Return the write that creates the item, for the batch that claims what it stands for."""
        self.ttl_ms = ttl_ms
        self.lost: asyncio.Event = asyncio.Event()
        self._driver = driver
        self._etag: Etag = self.put.etag
        self._lost_message = lost_message
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds for which the owner can rely on it, by this process's monotonic clock."""
        return 0.0 if self.lost.is_set() else max(0.0, self._until - monotonic())

    def created(self, sent: float) -> None:
        """Note that the batch with `put`, sent at `sent` (monotonic), was applied."""
        self._until = sent + self.ttl_ms / 1000 - _TICK

    def is_ours(self, item: Item | None) -> bool:
        """Return whether this item is the one that `put` created."""
        return item is not None and item.value == self.put.value

    def lost_error(self) -> LeaseLostError:
        """Return the error for a former owner. Also sets `lost`."""
        self.lost.set()
        return LeaseLostError(self._lost_message)

    def release(self) -> None:
        """Stop relying on it."""
        self._until = 0.0

    async def renew(self) -> None:
        """Extend it by another `ttl_ms` from now. Raises `LeaseLostError`."""
        at, token = self.put.key, self.put.value
        sent = monotonic()
        await self.write(lambda etag: [Put(at, token, etag, self.ttl_ms)])
        self.created(sent)

    async def keep_alive(self) -> None:
        """Renew every third of the ttl until it is lost. Never raises a `LimpetError`."""
        while not self.lost.is_set():
            await asyncio.sleep(self.ttl_ms / 3000)
            with suppress(LimpetError):  # `lost` shows it, or the next renewal tries again
                await self.renew()

    def warn_if_it_ran_out(self) -> None:
        """Log at the end of a block that it took longer than the claim or lease, because nothing could be renewed."""
        if not self.left and not self.lost.is_set():
            _logger.warning(
                "a block that held %r ran for longer than its lease of %.3g seconds without a renewal: somebody else could have "
                "taken it. If the block makes synchronous calls, run them with asyncio.to_thread(), or use a longer lease",
                printable(self.put.key),
                self.ttl_ms / 1000,
            )

    async def write(self, plan: Callable[[Etag], Sequence[Write]]) -> None:
        """Apply the batch that `plan` makes from the item's etag. Its first write must be to the item itself.

        Raises `LeaseLostError`, with nothing written, if the item is no longer ours. The other writes need no
        condition, because only the owner changes what the item protects.
        """
        while True:
            writes = plan(self._etag)
            try:
                await self._driver.apply(writes)
            except ConflictError as conflict:
                there = conflict.items.get(self.put.key)
                if there is None or not self.is_ours(there):
                    raise self.lost_error() from conflict
                self._etag = there.etag  # from a concurrent renewal, or one whose answer was lost
            else:
                if isinstance(writes[0], Put):
                    self._etag = writes[0].etag
                return
