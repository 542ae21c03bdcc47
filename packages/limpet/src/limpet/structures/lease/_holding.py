"""An item that says whose something is for now, until it ends by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..._errors import ConflictError, LeaseLostError
from ...driver import Driver, Etag, If, Item, Key, Put, Write

__all__ = ["Holding"]


class Holding:
    """Our side of an item that only its holder writes: `taking` makes it, `write` changes it or what it protects.

    The token tells our holding from every other, and its etag from an older state of itself. `lost` is set as soon as
    it is known that it has ended without us. `ended` says what to tell the holder then.
    """

    def __init__(self, driver: Driver, at: Key, token: str, ttl_ms: int, *, ended: str) -> None:
        self.taking = Put(at, token, If.ABSENT, ttl_ms)
        """The write that begins it, for the batch that takes what it stands for."""
        self.lost = asyncio.Event()
        self.ttl_ms = ttl_ms
        self._driver = driver
        self._etag: Etag = self.taking.etag
        self._ended = ended

    def owns(self, item: Item | None) -> bool:
        """Whether what lies there is this holding."""
        return item is not None and item.value == self.taking.value

    def gone(self) -> LeaseLostError:
        """The error for a holder whose holding has ended; whoever waits for `lost` is told."""
        self.lost.set()
        return LeaseLostError(self._ended)

    async def renew(self) -> None:
        """Let it last for another `ttl_ms` from now. Raises `LeaseLostError`."""
        at, token = self.taking.key, self.taking.value
        await self.write(lambda etag: [Put(at, token, etag, self.ttl_ms)])

    async def write(self, plan: Callable[[Etag], Sequence[Write]]) -> None:
        """Apply a batch whose first write is of the item itself, at the etag that `plan` gets.

        Raises `LeaseLostError`, with nothing written, where it is no longer ours. The other writes need no condition:
        what the item protects is changed by its holder alone.
        """
        while True:
            writes = plan(self._etag)
            try:
                await self._driver.apply(writes)
            except ConflictError as conflict:
                there = conflict.items.get(self.taking.key)
                if there is None or not self.owns(there):
                    raise self.gone() from conflict
                self._etag = there.etag  # by a renewal at the same time, or one whose answer was lost
            else:
                if isinstance(writes[0], Put):
                    self._etag = writes[0].etag
                return
