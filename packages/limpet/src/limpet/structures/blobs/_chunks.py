"""Content-addressed chunks: identical bytes are stored once, however often they occur."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError
from ...driver import Delete, Driver, If, Item, Key, Put, Range, Write, key, name, number, text
from ...driver.kit import backend_now_ms, scan_all, scan_pages
from .._reading import log_skipped
from .._transact import Plan, ReadSet, transact

__all__ = ["OWNERS", "Chunks", "Content", "collect_chunks", "collect_chunks_below", "content_driver"]

CHUNK, PARTS, OWNERS = name("chunk"), name("chunk.parts"), name("chunk.owners")
_SIZE = 512 * 1024
_AT_ONCE = 4
"""How many chunks are in memory while writing and reading."""
_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Content:
    """Describes what was stored."""

    size: int
    """In bytes."""
    sha256: str
    """The digest of all of it, in hexadecimal."""
    chunk_size: int
    """Bytes in each chunk except the last, if the content was cut evenly."""


class Chunks:
    """The ordered chunks of their owners.

    `chunk!@<sha256>` counts the users of a chunk and `chunk!@<sha256>!bytes` is its content; `chunk.parts!@<owner>!<n>`
    says which chunk is the n-th; `chunk.owners!@<owner>` says at which key the owner is named, and is written before
    the first chunk. A chunk is counted in the batch that names it, and freed in the batch that removes the last name,
    so both are always right.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = content_driver(driver)

    @property
    def size(self) -> int:
        """Bytes in a chunk: less than usual if the driver's limit is lower."""
        can = self._driver.capabilities
        return max(1, min(_SIZE, can.max_value_bytes, can.max_batch_bytes - 4096))

    async def announce(self, owner: str, at: dict[str, Any]) -> None:
        """Record where the owner will be named. What is written for it and never named is freed after a day or two."""
        await self._driver.apply([Put(key(OWNERS, text(owner)), to_json(at).decode())])

    async def write(self, owner: str, pieces: AsyncIterable[bytes]) -> Content:
        """Store pieces of at most `size` bytes each as the owner's chunks, in constant memory."""
        whole, size, count, largest = sha256(), 0, 0, 0
        window: list[bytes] = []
        async for piece in pieces:
            whole.update(piece)
            size, largest = size + len(piece), max(largest, len(piece))
            window.append(piece)
            if len(window) == _AT_ONCE:
                await self._put(owner, count, window)
                count, window = count + len(window), []
        await self._put(owner, count, window)
        return Content(size, whole.hexdigest(), largest)

    async def read(self, owner: str, *, first: int = 0) -> AsyncIterator[bytes]:
        """Yield the owner's chunks in order, starting with number `first`.

        Raises `CorruptDataError` if one is missing.
        """
        base = key(PARTS, text(owner))
        after = None if first == 0 else key(base, number(first - 1))
        expected = first
        async for page in scan_pages(self._driver.scan, Range(base, after=after, limit=100)):
            for start in range(0, len(page.items), _AT_ONCE):
                part = page.items[start : start + _AT_ONCE]
                digests = [_digest(item) for item in part]
                found = await self._driver.get([key(CHUNK, text(digest), name("bytes")) for digest in digests])
                for item, chunk in zip(part, found, strict=True):
                    if chunk is None or not isinstance(chunk.value, bytes) or item.key != key(base, number(expected)):
                        raise CorruptDataError(f"chunk {expected} of the content {owner!r} is missing")
                    yield chunk.value
                    expected += 1

    async def release(self, owner: str) -> int:
        """Free the owner's chunks, except those that others also use.

        Return how many parts there were. Safe to repeat.
        """
        base = key(PARTS, text(owner))
        freed = 0
        async for page in scan_pages(self._driver.scan, Range(base, limit=100)):
            for start in range(0, len(page.items), _AT_ONCE):
                part = page.items[start : start + _AT_ONCE]
                await asyncio.gather(*(self._drop(item) for item in part))
                freed += len(part)
        await self._driver.apply([Delete(key(OWNERS, text(owner)))])
        return freed

    async def _put(self, owner: str, first: int, window: Sequence[bytes]) -> None:
        if not window:
            return
        digests = [sha256(piece).hexdigest() for piece in window]
        heads = [key(CHUNK, text(digest)) for digest in digests]
        reads = dict(zip(heads, await self._driver.get(heads), strict=True))
        numbered = zip(range(first, first + len(window)), digests, window, strict=True)
        await asyncio.gather(*(self._put_one(owner, n, digest, piece, reads) for n, digest, piece in numbered))

    async def _put_one(self, owner: str, n: int, digest: str, piece: bytes, reads: ReadSet) -> None:
        head = key(CHUNK, text(digest))
        part = Put(key(PARTS, text(owner), number(n)), f"{digest} {len(piece)}")

        def plan(reads: ReadSet) -> Plan[None]:
            there = reads[head]
            if there is None:
                return Plan([Put(head, "1", If.ABSENT), Put(key(head, name("bytes")), piece), part], None)
            return Plan([Put(head, str(_users(there) + 1), there.etag), part], None)

        await transact(self._driver, [head], plan, assume={head: reads[head]})

    async def _drop(self, part: Item) -> None:
        head = key(CHUNK, text(_digest(part)))

        def plan(reads: ReadSet) -> Plan[None]:
            there, own = reads[head], reads[part.key]
            if own is None:
                return Plan([], None)
            writes: list[Write] = [Delete(part.key, own.etag)]
            if there is not None and _users(there) > 1:
                writes.append(Put(head, str(_users(there) - 1), there.etag))
            elif there is not None:
                writes += [Delete(head, there.etag), Delete(key(head, name("bytes")))]
            return Plan(writes, None)

        await transact(self._driver, [head, part.key], plan)


def content_driver(driver: Driver) -> Driver:
    """Return the driver that chunks and references to them are stored through: the one below out-of-line values."""
    below: Driver = getattr(driver, "below_out_of_line", driver)
    return below


async def collect_chunks(driver: Driver, *, grace_ms: int = _DAY_MS) -> int:
    """Free the content of owners that nothing names any more, and return how many parts that were.

    Safe to run concurrently. An owner is checked a day after it was announced. If nothing names it any more, it is
    marked as dead and freed a day later, so that current readers can finish.
    """
    driver = content_driver(driver)  # there, a pointer names the owner; above, there is the whole value
    now = await backend_now_ms(driver)
    freed = 0
    async for item in scan_all(driver, OWNERS):
        if item.updated_at > now - grace_ms:
            continue
        try:
            freed += await _collect_owner(driver, item)
        except CorruptDataError as error:
            log_skipped(error)
    return freed


async def collect_chunks_below(driver: Driver, bases: Collection[Key]) -> int:
    """Free at once the content that items at or below these keys had; return how many parts that were.

    Only for keys at which nothing is stored any more, and nobody stores anything: content that is being stored is
    freed too.
    """
    driver = content_driver(driver)
    freed = 0
    async for item in scan_all(driver, OWNERS):
        try:
            owner, announced = _announced(item)
            at = str(announced.get("at", announced.get("below")))
            ours = any(at == base or at.startswith(f"{base}!") for base in bases)
            if ours and not await _is_named(driver, owner, announced):
                freed += await Chunks(driver).release(owner)
        except CorruptDataError as error:
            log_skipped(error)
    return freed


async def _collect_owner(driver: Driver, item: Item) -> int:
    owner, announced = _announced(item)
    if await _is_named(driver, owner, announced):
        return 0
    if announced.get("dead"):
        return await Chunks(driver).release(owner)
    await driver.commit([[Put(item.key, to_json({**announced, "dead": True}).decode(), item.etag)]])
    return 0


async def _is_named(driver: Driver, owner: str, announced: dict[str, Any]) -> bool:
    if "at" in announced:
        (item,) = await driver.get([Key(announced["at"])])
        return item is not None and isinstance(item.value, str) and owner in item.value
    # An append whose number was never recorded: search the log.
    async for item in scan_all(driver, Key(announced["below"])):
        if isinstance(item.value, str) and owner in item.value:
            return True
    return False


def _announced(item: Item) -> tuple[str, dict[str, Any]]:
    try:
        announced = from_json(item.value or "")
    except ValueError as error:
        raise CorruptDataError(f"the item at {item.key!r} cannot be read: {error}") from error
    if (
        not isinstance(announced, dict)
        or not isinstance(announced.get("owner"), str)
        or not {"at", "below"} & announced.keys()
    ):
        raise CorruptDataError(f"the item at {item.key!r} does not name an owner")
    return announced["owner"], announced


def _digest(part: Item) -> str:
    digest, _, size = str(part.value).partition(" ")
    if not size.isdecimal():
        raise CorruptDataError(f"the item at {part.key!r} does not name a chunk")
    return digest


def _users(head: Item) -> int:
    if not isinstance(head.value, str) or not head.value.isdecimal():
        raise CorruptDataError(f"the item at {head.key!r} is not a counter")
    return int(head.value)
