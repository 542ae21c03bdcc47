"""Copying a database to another one, on any driver and through any wrappers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ValidationError

from .._errors import ConfigurationError, ConflictError, CorruptDataError, UnsupportedError
from ..driver import Delete, Driver, If, Key, Put, Range
from ..driver.kit import scan_pages
from ._database import MARKER, Database, identity, moves, opened
from ._passes import Done, bring, copy_from, equalise, settled
from ._progress import OnProgress, Progress

__all__ = ["CopyReport", "copy", "follow"]


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did."""

    copied: int
    """Items written by this run."""
    deleted: int
    """Items deleted from the target, because the source no longer had them."""
    bytes: int
    """Bytes of the values written by this run."""
    resumed: bool
    """Whether this run continued an earlier one."""
    exact: bool
    """Whether the last look at both found no difference. Not if the source was written to meanwhile, or is damaged."""
    damaged: dict[Key, str]
    """The key of each item that could not be read, and why. These were not copied."""


class _Marker(BaseModel):
    """In the target, until an application takes over: which database is copied to it, and how far the copy has come."""

    version: Literal[1] = 1
    source: str
    after: Key | None = None
    """The position in the source up to which everything was copied at least once."""
    complete: bool = False


async def copy(
    source: Database,
    target: Database,
    *,
    replace: bool = False,
    again: bool = False,
    progress: OnProgress = None,
) -> CopyReport:
    """Copy everything in one database to another, and return what was done.

    Keys, values, etags and the time that items have left are the same afterwards; write times are those of the copy. Both
    databases may be encrypted, with the same key or different ones. The target must be empty, unless an earlier copy of
    the same source was interrupted there: then it is continued. Do not use the target before the copy is complete.

    The source may be in use. After everything was copied, both are compared by their etags, and what changed is copied
    too, up to ten times; `exact` says whether the last comparison found no difference. `follow` keeps copying.

    `replace=True` empties the target first. `again=True` makes a complete copy equal to its source once more, which also
    deletes what was written to the target since. Raises `ConfigurationError` for a target that is not empty, or is the
    source; nothing is written then. Interrupting a copy is safe at any moment.
    """
    async with _both(source, target) as (origin, destination):
        marker, resumed = await _begin(origin, destination, replace, again)
        done = Done()
        await _copied(origin, destination, marker, done, progress)
        return await _ended(origin, destination, marker, done, resumed, progress)


async def follow(
    source: Database,
    target: Database,
    *,
    until: asyncio.Event,
    interval: float = 1.0,
    replace: bool = False,
    again: bool = False,
    progress: OnProgress = None,
) -> CopyReport:
    """Copy a database that is in use, and keep the copy up to date until `until` is set; return what was done.

    Changes are seen through `watch` where the source's driver has it, and by comparing etags every `interval` seconds
    otherwise, or as often as a comparison takes. To switch over: stop everything that writes to the source, then set
    `until`. The last comparison starts after that, and `exact` says whether it found the two equal: then everything that
    was acknowledged is in the target.
    """
    if not interval > 0:
        raise ConfigurationError(f"interval is {interval!r}: use seconds, more than 0")
    async with _both(source, target) as (origin, destination):
        marker, resumed = await _begin(origin, destination, replace, again)
        done = Done()
        await _copied(origin, destination, marker, done, progress)
        await _followed(origin, destination, until, interval, done, progress)
        return await _ended(origin, destination, marker, done, resumed, progress)


@asynccontextmanager
async def _both(source: Database, target: Database) -> AsyncIterator[tuple[Driver, Driver]]:
    async with opened(source, reading=True) as origin, opened(target, new=True) as destination:
        if "item" in (origin.capabilities.atomic, destination.capabilities.atomic):
            raise UnsupportedError("a database on a driver that writes single items only cannot be copied yet")
        yield origin, destination


async def _copied(source: Driver, target: Driver, marker: _Marker, done: Done, progress: OnProgress) -> None:
    """Copy everything once, from where an earlier run stopped."""

    async def reached(position: Key) -> None:
        marker.after = position
        await _store(target, marker)
        if progress is not None:
            progress(Progress("copying", done.copied, done.bytes))

    if not marker.complete:
        await copy_from(source, target, marker.after, done, reached)


async def _ended(
    source: Driver, target: Driver, marker: _Marker, done: Done, resumed: bool, progress: OnProgress
) -> CopyReport:
    """Compare until nothing differs; only then is the copy complete, and otherwise another run continues it."""
    equal = await settled(source, target, done, progress)
    if equal:
        marker.complete, marker.after = True, None
        await _store(target, marker)
    damaged = dict(sorted(done.damaged.items()))
    return CopyReport(done.copied, done.deleted, done.bytes, resumed, equal and not damaged, damaged)


async def _followed(
    source: Driver, target: Driver, until: asyncio.Event, interval: float, done: Done, progress: OnProgress
) -> None:
    changed: asyncio.Queue[frozenset[Key] | None] = asyncio.Queue()
    listening = asyncio.create_task(_listen(source, changed)) if source.capabilities.watch else None
    try:
        while not until.is_set():
            began = asyncio.get_running_loop().time()
            if listening is None:
                differed = await equalise(source, target, done, lambda: None)
            else:
                if listening.done():
                    await listening  # raises what ended it
                differed = await _catch_up(source, target, changed, done)
            if progress is not None:
                progress(Progress("following", done.copied, done.bytes, differed))
            took = asyncio.get_running_loop().time() - began
            with suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), interval if listening is not None else max(interval, took))
    finally:
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _listen(source: Driver, changed: asyncio.Queue[frozenset[Key] | None]) -> None:
    async for keys in source.watch(""):
        changed.put_nowait(keys)


async def _catch_up(source: Driver, target: Driver, changed: asyncio.Queue[frozenset[Key] | None], done: Done) -> int:
    """Copy what the notifications so far name; everything, if one names nothing."""
    named: set[Key] = set()
    everything = False
    while not changed.empty():
        keys = changed.get_nowait()
        everything |= keys is None
        named |= keys or frozenset()
    if everything:
        return await equalise(source, target, done, lambda: None)
    return await bring(source, target, named, done)


async def _begin(source: Driver, target: Driver, replace: bool, again: bool) -> tuple[_Marker, bool]:
    """Return where to begin, after everything that speaks against it was refused."""
    name = await identity(source)
    if name == await identity(target):
        raise ConfigurationError("the source and the target are the same database: check the URLs")
    (there,) = await source.get([MARKER])
    if there is not None and not _marker(there.value).complete:
        raise ConfigurationError(
            "the source is itself an unfinished copy: finish that first, with the same command as before"
        )
    (found,) = await target.get([MARKER])
    marker = None if found is None else _marker(found.value)
    if marker is not None and marker.source == name and not replace:
        if marker.complete and not again:
            raise ConfigurationError(
                "the target is already a complete copy of this source. To make it equal again, which deletes what was "
                "written to it since, pass again=True (--again)"
            )
        return marker, not marker.complete
    if replace:
        await _empty(target)
    elif await _first_key(target) is not None:
        raise ConfigurationError(
            "the target is not empty: use an empty database, or pass replace=True (--replace), which deletes everything in it"
        )
    elif marker is not None:
        raise ConfigurationError(
            "another copy was begun in the target: finish that, or pass replace=True (--replace), which deletes everything in it"
        )
    marker = _Marker(source=name)
    try:
        await target.apply([Put(MARKER, marker.model_dump_json(), If.ABSENT)])
    except ConflictError:
        raise ConfigurationError("another copy to the same target began at this moment: wait for it") from None
    return marker, False


def _marker(value: str | bytes | None) -> _Marker:
    try:
        return _Marker.model_validate_json(value or "")
    except ValidationError as error:
        raise CorruptDataError(f"the marker of a copy, at {MARKER!r}, cannot be read: delete it") from error


async def _store(target: Driver, marker: _Marker) -> None:
    await target.apply([Put(MARKER, marker.model_dump_json())])


async def _first_key(driver: Driver) -> Key | None:
    async for page in scan_pages(driver.scan, Range(limit=10, values=False)):
        for item in page.items:
            if moves(item.key):
                return item.key
    return None


async def _empty(driver: Driver) -> None:
    """Delete all data, and the marker."""
    async for page in scan_pages(driver.scan, Range(limit=500, values=False)):
        await driver.apply([Delete(item.key) for item in page.items if moves(item.key) or item.key == MARKER])
