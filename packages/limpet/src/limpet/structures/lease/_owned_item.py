"""An item that names the owner of something until it expires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from ..._errors import ConflictError, LeaseLostError, LimpetError
from ...driver import Driver, Etag, If, Item, Key, Put, Write

__all__ = ["OwnedItem"]

_TICK = 0.001
"""The backend's clock cuts off what is below a millisecond, so an item may expire that much early."""


class OwnedItem:
    """The owner's side of an item that only its owner writes: `put` creates it, `write` changes it or what it protects.

    The token in the item tells this owner from every other. `lost` is set as soon as it is known that the item expired
    or was taken over. `lost_message` is what `LeaseLostError` says then.
    """

    def __init__(self, driver: Driver, at: Key, token: str, ttl_ms: int, *, lost_message: str) -> None:
        self.put: Put = Put(at, token, If.ABSENT, ttl_ms)
        """The write that creates the item, for the batch that takes what it stands for."""
        self.ttl_ms = ttl_ms
        self.lost: asyncio.Event = asyncio.Event()
        self._driver = driver
        self._etag: Etag = self.put.etag
        self._lost_message = lost_message
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds for which the owner may rely on it, by this process's monotonic clock."""
        return 0.0 if self.lost.is_set() else max(0.0, self._until - monotonic())

    def created(self, sent: float) -> None:
        """The batch with `put`, sent at `sent` (monotonic), was applied."""
        self._until = sent + self.ttl_ms / 1000 - _TICK

    def is_ours(self, item: Item | None) -> bool:
        """Whether this item is the one that `put` created."""
        return item is not None and item.value == self.put.value

    def lost_error(self) -> LeaseLostError:
        """The error for an owner who is one no longer; also sets `lost`."""
        self.lost.set()
        return LeaseLostError(self._lost_message)

    def release(self) -> None:
        """Stop relying on it."""
        self._until = 0.0

    async def renew(self) -> None:
        """Let it last for another `ttl_ms` from now. Raises `LeaseLostError`."""
        at, token = self.put.key, self.put.value
        sent = monotonic()
        await self.write(lambda etag: [Put(at, token, etag, self.ttl_ms)])
        self.created(sent)

    async def keep_alive(self) -> None:
        """Renew every third of the ttl until it is lost. Never raises a `LimpetError`."""
        while not self.lost.is_set():
            await asyncio.sleep(self.ttl_ms / 3000)
            with suppress(LimpetError):  # `lost` says it, or the next renewal tries again
                await self.renew()

    async def write(self, plan: Callable[[Etag], Sequence[Write]]) -> None:
        """Apply the batch that `plan` makes of the item's etag; its first write must be of the item itself.

        Raises `LeaseLostError`, with nothing written, where the item is no longer ours. The other writes need no
        condition: only the owner changes what the item protects.
        """
        while True:
            writes = plan(self._etag)
            try:
                await self._driver.apply(writes)
            except ConflictError as conflict:
                there = conflict.items.get(self.put.key)
                if there is None or not self.is_ours(there):
                    raise self.lost_error() from conflict
                self._etag = there.etag  # from a renewal at the same time, or one whose answer was lost
            else:
                if isinstance(writes[0], Put):
                    self._etag = writes[0].etag
                return
