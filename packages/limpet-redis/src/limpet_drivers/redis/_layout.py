"""What is stored: three keys per database, and the records that the scripts read."""

from __future__ import annotations

from limpet import CorruptDataError
from limpet.driver import Etag, Item, Key
from limpet.driver.kit import from_bytes

__all__ = ["Names", "item_of"]

_HEAD = 54
"""Etag (22), write time (16 digits), expiry (16 digits, 0 for none); then a byte that distinguishes text from bytes."""


class Names:
    """The keys of one database. The braces are Redis's hash tag: all keys are in one slot of a cluster."""

    def __init__(self, base: str) -> None:
        self.items = f"{{{base}}}:items"
        self.order = f"{{{base}}}:order"
        self.expiry = f"{{{base}}}:expiry"
        self.channel = f"{{{base}}}:changed"
        self.all = (self.items, self.order, self.expiry)


def item_of(key: Key, record: bytes, now: int, *, values: bool = True) -> Item:
    """Return a record as callers see it. Raises `CorruptDataError` for anything that Limpet did not write."""
    head = record[:_HEAD].decode("ascii", "replace")
    etag, updated_at, expires_at = head[:22], head[22:38], head[38:]
    if len(head) != _HEAD or not (updated_at.isdecimal() and expires_at.isdecimal()):
        raise CorruptDataError(f"the item at {key!r} is not one of Limpet's: another program uses the same base")
    ends = int(expires_at)
    value = from_bytes(record[_HEAD:]) if values else None
    return Item(key, value, Etag(etag), int(updated_at), max(1, ends - now) if ends else None)
