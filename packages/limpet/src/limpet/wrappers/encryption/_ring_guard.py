"""Checks that the keys which encrypted a write are still stored."""

from __future__ import annotations

import logging
from contextlib import suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from ..._errors import ConflictError, UnavailableError
from ...driver import Driver, Etag, If, Put, Value
from .._reserved import MANIFEST, RING
from .._wrapper import layers

if TYPE_CHECKING:
    from ._keyring import KeyRing, Standing

__all__ = ["RingGuard"]

PROOF_SECONDS = 1.0

_logger = logging.getLogger("limpet")
_TRIES = 20


class RingGuard:
    """Restores the key ring of a server that comes back empty, since later writes could not be read otherwise.

    The check comes after a write: a ring that exists then existed during the write, and a condition in the batch would
    make all writers take turns at one item. A check costs a read, so it is good for `PROOF_SECONDS`, unless there is a
    new connection: a server that restarted cannot be reached over the old ones.
    """

    def __init__(self, inner: Driver) -> None:
        self._inner = inner
        self.backend = layers(inner)[-1]
        self._ring: KeyRing | None = None
        self._covering: Etag | None = None
        """The version of the stored ring that was last found to open what `_ring` encrypts."""
        self._changed = False
        self.proved_until = -inf
        """When a write needs a new check, by the monotonic clock."""
        self.proved_over = -1
        """How many connections had been made before that check."""
        self.manifest: Value | None = None
        """The manifest of the database, once it is known."""

    async def standing(self, ring: KeyRing) -> Standing:
        """Return how the stored ring relates to `ring`: never an older one, because that is replaced.

        Raises `UnavailableError` if that cannot be determined, and `CorruptDataError` for an unreadable ring.
        """
        asked_at, asked_over = monotonic(), getattr(self.backend, "connections_made", 0)
        standing = await self._standing(ring)
        if standing == "covers":
            self.proved_until, self.proved_over = asked_at + PROOF_SECONDS, asked_over
        return standing

    def take_changed(self) -> bool:
        """Return whether the stored ring was found to be a newer one since the last call."""
        changed, self._changed = self._changed, False
        return changed

    async def _standing(self, ring: KeyRing) -> Standing:
        (found,) = await self._inner.get([RING], values=False)
        if found is not None and (found.etag == ring.etag or (ring is self._ring and found.etag == self._covering)):
            return "covers"
        for _ in range(_TRIES):
            (item,) = await self._inner.get([RING])
            if item is None:
                put = ring.put_back()
            elif (found_to_be := ring.compare(item)) == "older":
                put = ring.in_place_of(item)
            else:
                if found_to_be == "covers":
                    self._ring, self._covering, self._changed = ring, item.etag, True
                return found_to_be
            try:
                await self._inner.apply([put])
            except ConflictError:
                continue  # another process is restoring one too
            _logger.error(
                "the key ring of an encrypted database was missing or outdated and has been restored: its server lost data"
            )
            await self._put_manifest_back()
            self._ring, self._covering = ring, put.etag
            return "covers"
        raise UnavailableError("the key ring of this database was lost, and keeps changing: retry")

    async def _put_manifest_back(self) -> None:
        """Restore it, so that the database cannot be opened without encryption."""
        if self.manifest is not None:
            with suppress(ConflictError):  # it exists
                await self._inner.apply([Put(MANIFEST, self.manifest, If.ABSENT)])
