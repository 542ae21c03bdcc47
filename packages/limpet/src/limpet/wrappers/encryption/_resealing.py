"""Encrypt existing values again, under the newest value key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..._errors import ConflictError
from ...driver import KEEP, Driver, Item, Key, Put

if TYPE_CHECKING:
    from ._keyring import KeyRing

__all__ = ["seal_anew"]


async def seal_anew(inner: Driver, ring: KeyRing, items: Sequence[Item], is_due: Callable[[Item], bool]) -> int:
    """Encrypt items under the newest key, unless someone has written them meanwhile, with any key. Return how many.

    Etags change; expiries, and the write times that callers see, do not.
    """
    sealed = 0
    while items:
        batches = [[_anew(ring, item)] for item in items]
        again: list[Key] = []
        for item, outcome in zip(items, await inner.commit(batches), strict=True):
            if outcome is None:
                sealed += 1
            elif isinstance(outcome, ConflictError):
                again.append(item.key)
            elif isinstance(outcome, Exception):
                raise outcome
        found = await inner.get(again) if again else []
        items = [item for item in found if item is not None and is_due(item)]
    return sealed


def _anew(ring: KeyRing, item: Item) -> Put:
    opened = ring.sealer.unseal(item)
    assert opened.value is not None  # it was read with its value
    put = Put(opened.key, opened.value, item.etag, KEEP)
    sealed = ring.sealer.seal(put, item.key, written_at=opened.updated_at)
    return Put(item.key, sealed, put.cond, put.ttl_ms, put.etag)
