"""What deleted and truncated logs leave behind: hidden at once, freed later, never forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError
from ...driver import Delete, Driver, Item, Key, Put, Write, key, name, new_etag, number, text
from ...driver.kit import scan_all
from ._forks import Branch, collect, release

__all__ = ["SWEEP", "marker", "sweep", "sweep_all", "sweep_now"]

SWEEP = name("sweep")
"""Below it lies one marker for each piece of work, written in the batch that hid what it names."""

_CHUNK = 256
_AT_ONCE = 1000
"""Items that a deletion frees before it returns."""


def marker(
    items: int,
    *,
    prefixes: tuple[Key, ...] = (),
    ranges: tuple[tuple[Key, int, int], ...] = (),
    collects: tuple[Branch, ...] = (),
    releases: tuple[Branch, ...] = (),
) -> Put:
    """The write that promises to free everything below `prefixes`, and the numbers `[first, end)` below each base.

    `collects` are logs that forks may share entries with, `releases` those that a fork no longer reads; the latter go into a
    marker of their own. `items` is about how many there are.
    """
    work: dict[str, object] = {"items": items, "prefixes": prefixes, "ranges": ranges}
    work |= {"collects": collects} if collects else {}
    work |= {"releases": releases} if releases else {}
    return Put(key(SWEEP, text(new_etag())), to_json(work).decode())


async def sweep(driver: Driver, item: Item, *, at_most: int | None = None) -> int:
    """Do what one marker says, then remove it; answer how many items went. Safe to repeat, and beside other sweepers.

    With `at_most` a marker of more items is left to another time.
    """
    try:
        match told := from_json(item.value or ""):
            case {"items": int(items), "prefixes": [*prefixes], "ranges": [*ranges]}:
                if at_most is not None and items > at_most:
                    return 0
            case _:
                raise CorruptDataError(f"the sweep marker at {item.key!r} is none of ours")
    except ValueError as error:
        raise CorruptDataError(f"the sweep marker at {item.key!r} cannot be read: {error}") from error
    if releases := _branches(told.get("releases", ())):
        promise = marker(items, collects=releases)
        if not await release(driver, item, releases, promise):
            return 0
        return await sweep(driver, Item(promise.key, promise.value, promise.etag, 0), at_most=at_most)
    freed = 0
    for branch in _branches(told.get("collects", ())):
        freed += await collect(driver, branch)
    for prefix in prefixes:
        freed += await driver.clear(prefix)
    for base, first, end in ranges:
        for start in range(first, end, _CHUNK):
            await driver.apply([Delete(f"{base}!{number(n)}") for n in range(start, min(start + _CHUNK, end))])
        freed += end - first
    await driver.apply([Delete(item.key)])
    return freed


def _branches(told: Sequence[Sequence[object]]) -> tuple[Branch, ...]:
    return tuple((str(base), int(str(incarnation))) for base, incarnation in told)


async def sweep_now(driver: Driver, writes: Sequence[Write]) -> None:
    """Of what `writes` hid, free what is little; the rest awaits `sweep_all`."""
    for write in writes:
        if isinstance(write, Put) and write.key.startswith(f"{SWEEP}!"):
            await sweep(driver, Item(write.key, write.value, write.etag, 0), at_most=_AT_ONCE)


async def sweep_all(driver: Driver) -> int:
    """Do what every marker says; answer how many items went."""
    freed = 0
    async for item in scan_all(driver, SWEEP):
        freed += await sweep(driver, item)
    return freed
