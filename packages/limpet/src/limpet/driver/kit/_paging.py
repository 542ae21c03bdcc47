"""Cut a sequence of items to one page."""

from __future__ import annotations

from collections.abc import Iterable

from .._types import Item, Key, Page, Range
from ._values import size_of

__all__ = ["PAGE_BYTES", "below", "between", "to_page"]

PAGE_BYTES = 1024 * 1024
"""A page ends near this many bytes of values."""

_AFTER_SEGMENTS = '"'
"""The character after `!`: everything below `base` is between `base + "!"` and `base + '"'`."""


def below(base: Key) -> tuple[str, str | None]:
    """Return the half-open range of keys of the descendants of `base`: start (inclusive) and end (exclusive)."""
    return (base + "!", base + _AFTER_SEGMENTS) if base else ("", None)


def between(range: Range) -> tuple[str, str | None]:
    """Return the half-open range of keys that a scan covers: start (inclusive) and end (exclusive)."""
    low, high = below(range.base)
    if range.after is not None:
        low = max(low, range.after + "\0")
    if range.before is not None:
        high = range.before if high is None else min(high, range.before)
    return low, high


def to_page(items: Iterable[Item], limit: int) -> Page:
    """Take ordered items up to `limit` or about 1 MiB. Reads one more to know whether that was the end."""
    taken: list[Item] = []
    size = 0
    for item in items:
        if len(taken) == limit or size >= PAGE_BYTES:
            return Page(taken, taken[-1].key)
        taken.append(item)
        if item.value is not None:
            size += size_of(item.value)
    return Page(taken, None)
