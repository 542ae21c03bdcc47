"""One look at two databases, which makes the second like the first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from .._json import Unreadable
from ..driver import Delete, Driver, Item, Key, Page, Put, Range
from ..driver.kit import scan_pages, size_of
from ..structures import get_each, scan_each
from ._database import get_all, moves, put_all
from ._progress import OnProgress, Progress

__all__ = ["LOOKS", "Done", "bring", "copy_from", "equalise", "settled"]

_PAGE = 1000
LOOKS = 10
"""How often a database that keeps changing is compared, before the last differences are reported."""


@dataclass(slots=True)
class Done:
    """What a copy has done so far."""

    examined: int = 0
    copied: int = 0
    deleted: int = 0
    bytes: int = 0
    damaged: dict[Key, str] = field(default_factory=dict)
    """The stored key of each item that could not be read, and why."""
    moves: Callable[[Key], bool] = moves
    """Whether an item is copied, and deleted from the target."""


Report = Callable[[], None]


async def copy_from(
    source: Driver,
    target: Driver,
    after: Key | None,
    done: Done,
    reached: Callable[[Key], Awaitable[None]],
) -> None:
    """Copy everything after a position, in the source's own order. `reached` is awaited when all up to a position is stored."""
    writing: asyncio.Task[None] | None = None
    try:
        async for page in _pages(source, Range(after=after, limit=_PAGE)):
            readable = _readable(page.items, done)
            if writing is not None:
                await writing
            writing = asyncio.create_task(_stored(target, readable, done, page.next, reached))  # while the next is read
        if writing is not None:
            await writing
    finally:
        if writing is not None and not writing.done():
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def _stored(
    target: Driver,
    items: Sequence[Item],
    done: Done,
    position: Key | None,
    reached: Callable[[Key], Awaitable[None]],
) -> None:
    await _put(target, items, done)
    if position is not None:
        await reached(position)


async def settled(source: Driver, target: Driver, done: Done, progress: OnProgress, looks: int = LOOKS) -> bool:
    """Compare and copy until nothing that can be read differs; return whether that was reached."""

    def report() -> None:
        if progress is not None:
            progress(Progress("comparing", done.examined, done.bytes))

    for _ in range(looks):
        done.examined = 0
        if not await equalise(source, target, done, report):
            return True
    return False


async def equalise(source: Driver, target: Driver, done: Done, report: Report) -> int:
    """Compare everything by etag, copy what differs, delete what is only in the target; return how many items that was."""
    differing = 0
    async for page in _pages(source, Range(limit=_PAGE, values=False)):
        differing += await _bring(source, target, page.items, done)
        done.examined += len(page.items)
        report()
    async for page in _pages(target, Range(limit=_PAGE, values=False)):
        keys = [item.key for item in page.items if done.moves(item.key)]
        gone = [key for key, item in zip(keys, await get_all(source, keys, values=False), strict=True) if item is None]
        differing += await _delete(target, gone, done)
        report()
    return differing


async def bring(source: Driver, target: Driver, keys: Iterable[Key], done: Done) -> int:
    """Make these keys of the target like those of the source; return how many differed."""
    wanted = [key for key in keys if done.moves(key)]
    found = await get_all(source, wanted, values=False)
    differing = await _bring(source, target, [item for item in found if item is not None], done)
    return differing + await _delete(
        target, [key for key, item in zip(wanted, found, strict=True) if item is None], done
    )


async def _bring(source: Driver, target: Driver, items: Sequence[Item], done: Done) -> int:
    keys = [item.key for item in items if done.moves(item.key)]
    etags = {item.key: item.etag for item in items}
    there = await get_all(target, keys, values=False)
    differing = [
        key
        for key, item in zip(keys, there, strict=True)
        if key not in done.damaged and (item is None or item.etag != etags[key])
    ]
    most = min(source.capabilities.max_keys, 256)
    for start in range(0, len(differing), most):
        some = differing[start : start + most]
        found = [item for item in await get_each(source, some) if item is not None]
        await _put(target, _readable(found, done), done)
    return len(differing)


async def _put(target: Driver, items: Sequence[Item], done: Done) -> None:
    puts = [Put(item.key, item.value, None, item.ttl_ms, item.etag) for item in items if item.value is not None]
    await put_all(target, puts)
    done.copied += len(puts)
    done.bytes += sum(size_of(put.value) for put in puts)


async def _delete(target: Driver, keys: Sequence[Key], done: Done) -> int:
    there = [item.key for item in await get_all(target, keys, values=False) if item is not None]
    for outcome in await target.commit([[Delete(key)] for key in there]):
        if isinstance(outcome, Exception):
            raise outcome
    done.deleted += len(there)
    return len(there)


def _readable(items: Sequence[Item], done: Done) -> list[Item]:
    """Return the items that move, without the damaged ones, which are noted."""
    readable: list[Item] = []
    for item in items:
        if isinstance(item.value, Unreadable):
            done.damaged[item.key] = str(item.value.error)
        elif done.moves(item.key):
            readable.append(item)
    return readable


def _pages(driver: Driver, range: Range) -> AsyncIterator[Page]:
    return scan_pages(partial(scan_each, driver), range)
