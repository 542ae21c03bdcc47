"""Reading the entries of a log, wherever they are stored, and checking its head before and after."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ...driver import Driver, Etag, Item, Key, Range, Value, number
from .._reading import scan_each
from ._forks import entries_of
from ._head import Head

__all__ = ["PART_BYTES", "Entry", "entry_of", "read_entries"]

_PAGE = 500
PART_BYTES = 8 * 1024 * 1024
"""How many bytes are read at a time when going through a log in constant memory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was appended."""

    seq: int
    """Its number: ascending and never reused, with gaps where entries were removed."""
    value: Value
    etag: Etag
    appended_at: int
    """Milliseconds since 1970 by the backend's clock."""


async def read_entries(
    driver: Driver,
    base: Key,
    head: Head,
    after: int | None,
    before: int | None,
    limit: int | None,
    reverse: bool,
    most: int | None = None,
) -> tuple[list[Entry], bool, Item | None]:
    """Return visible entries, whether there may be more, and the head's item as read afterwards.

    There are no entries if the item is of another log by then. If they have more than `most` bytes together, they end
    early, but there is at least one.
    """
    spans = _spans(base, head, max(-1 if after is None else after, head.low_watermark - 1), before, reverse)
    found: list[Item] = []
    while True:
        if spans:
            entries, low, high = spans[0]
            above = None if low < 0 else f"{entries}!{number(low)}"
            count = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = await scan_each(
                driver, Range(entries, after=above, before=f"{entries}!{number(high)}", reverse=reverse, limit=count)
            )
            found += [item for item in page.items if head.shows(_seq(item))]
            if page.next is None:
                spans.popleft()
            else:
                position = _jump(head, int(page.next[-16:]), reverse)
                spans[0] = (entries, low, position) if reverse else (entries, position, high)
                if spans[0][2] - spans[0][1] <= 1:
                    spans.popleft()
        if not spans or _enough(found, limit, most):
            (head_item,) = await driver.get([base])
            now = None if head_item is None else Head.read(head_item)
            if now is None or now.incarnation != head.incarnation:
                return [], False, head_item
            if now != head:
                found, head = [item for item in found if now.shows(_seq(item))], now
            if not spans or _enough(found, limit, most):
                return [entry_of(item) for item in found], bool(spans), head_item


def _enough(found: list[Item], limit: int | None, most: int | None) -> bool:
    return len(found) == limit or (most is not None and sum(len(item.value or "") for item in found) >= most)


def _spans(base: Key, head: Head, low: int, before: int | None, reverse: bool) -> deque[tuple[Key, int, int]]:
    """Yield which entries to read, in order: below which key, and between which numbers (exclusive)."""
    spans = deque[tuple[Key, int, int]]()
    for part in head.spans(base):
        first, end = max(low, part.first - 1), part.end if before is None else min(max(0, before), part.end)
        first, end = _jump(head, first + 1, False, first), _jump(head, end - 1, True, end)
        if end - first > 1:
            spans.append((entries_of((part.base, part.incarnation)), first, end))
    if reverse:
        spans.reverse()
    return spans


def _seq(item: Item) -> int:
    return int(item.key[-16:])


def entry_of(item: Item) -> Entry:
    """Return the entry in an item."""
    return Entry(_seq(item), item.value if item.value is not None else "", item.etag, item.updated_at)


def _jump(head: Head, position: int, reverse: bool, otherwise: int | None = None) -> int:
    """Skip the rest of a tombstone that covers a position."""
    tombstone = head.tombstone_at(position) if head.tombstones else None
    if tombstone is None:
        return position if otherwise is None else otherwise
    return tombstone[0] if reverse else tombstone[1] - 1
