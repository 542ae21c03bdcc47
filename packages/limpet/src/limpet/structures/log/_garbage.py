"""Garbage records: what deleted and truncated logs leave behind is hidden at once, freed later, and never forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError
from ..._json import ensure_readable
from ...driver import Delete, Driver, Item, Key, Put, Write, entry_key, key, name, new_etag, number, text
from .._afterwards import afterwards
from .._reading import log_skipped, scan_all_each
from ._forks import Branch, collect_branch, entries_of, release
from ._head import Head

__all__ = ["GARBAGE", "collect_now", "collect_record", "collect_records", "garbage_record", "plan_free"]

GARBAGE = name("garbage")
"""The garbage records are below this key. Each is written in the batch that hides what it names."""

_CHUNK = 256
_INLINE = 256
"""A truncation deletes up to this many entries in its own batch; more are hidden at once and freed later."""
_AT_ONCE = 1000
"""How many items a deletion frees before it returns."""


def garbage_record(
    items: int,
    *,
    prefixes: tuple[Key, ...] = (),
    ranges: tuple[tuple[Key, int, int], ...] = (),
    branches: tuple[Branch, ...] = (),
    releases: tuple[Branch, ...] = (),
) -> Put:
    """Return a record that says: free everything below `prefixes`, and the numbers `[first, end)` below each base.

    `branches` are logs whose entries forks may share, `releases` those that a fork no longer reads; these go into a
    record of their own. `items` is roughly how many items there are.
    """
    work: dict[str, object] = {"items": items, "prefixes": prefixes, "ranges": ranges}
    work |= {"branches": branches} if branches else {}
    work |= {"releases": releases} if releases else {}
    return Put(key(GARBAGE, text(new_etag())), to_json(work).decode())


def plan_free(branch: Branch, head: Head, shorter: Head) -> list[Write]:
    """Free what is hidden now and was not before: in this batch if it is little, otherwise with a garbage record."""
    entries = entries_of(branch)
    cut = shorter.cut_from(head)
    hidden = [(max(first, head.own), end) for first, end in cut if end > head.own]
    items = sum(end - first for first, end in hidden)
    if head.shared and items:  # what forks read stays until the last fork is gone
        return [garbage_record(items, branches=(branch,))]
    if items <= _INLINE:
        return [Delete(entry_key(entries, n)) for first, end in hidden for n in range(first, end)]
    return [garbage_record(items, ranges=tuple((entries, first, end) for first, end in hidden))]


async def collect_record(driver: Driver, item: Item, *, at_most: int | None = None) -> int:
    """Do what one record says, then remove it; return how many items were freed.

    Safe to repeat and to run concurrently. With `at_most`, a record of more items is left for later.
    """
    ensure_readable(item.value)
    try:
        match work := from_json(item.value or ""):
            case {"items": int(items), "prefixes": [*prefixes], "ranges": [*ranges]}:
                if at_most is not None and items > at_most:
                    return 0
            case _:
                raise CorruptDataError(f"the item at {item.key!r} is not a garbage record")
    except ValueError as error:
        raise CorruptDataError(f"the garbage record at {item.key!r} cannot be read: {error}") from error
    if releases := _branches(work.get("releases", ())):
        promise = garbage_record(items, branches=releases)
        if not await release(driver, item, releases, promise):
            return 0
        return await collect_record(driver, Item(promise.key, promise.value, promise.etag, 0), at_most=at_most)
    freed = 0
    for branch in _branches(work.get("branches", ())):
        freed += await collect_branch(driver, branch)
    for prefix in prefixes:
        freed += await driver.clear(prefix)
    for base, first, end in ranges:
        for start in range(first, end, _CHUNK):
            await driver.apply([Delete(f"{base}!{number(n)}") for n in range(start, min(start + _CHUNK, end))])
        freed += end - first
    await driver.apply([Delete(item.key)])
    return freed


def _branches(written: Sequence[Sequence[object]]) -> tuple[Branch, ...]:
    return tuple((str(base), int(str(incarnation))) for base, incarnation in written)


async def collect_now(driver: Driver, writes: Sequence[Write]) -> None:
    """Free what `writes` hid, if it is little; leave the rest to `collect_records`."""
    for write in writes:
        if isinstance(write, Put) and write.key.startswith(f"{GARBAGE}!"):
            record = Item(write.key, write.value, write.etag, 0)
            await afterwards(collect_record(driver, record, at_most=_AT_ONCE))


async def collect_records(driver: Driver) -> int:
    """Do what every garbage record says; return how many items were freed."""
    freed = 0
    async for item in scan_all_each(driver, GARBAGE):
        try:
            freed += await collect_record(driver, item)
        except CorruptDataError as error:
            log_skipped(error)
    return freed
