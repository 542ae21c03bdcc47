"""Blobs: bytes of any length, streamed in and out, with identical content stored once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any, Protocol, TypeAlias
from uuid import uuid4

from ..._arguments import checked_arguments
from ..._errors import ConflictError, CorruptDataError, InvalidValueError, NotFoundError
from ...driver import Driver, new_etag
from ...records import BlobRecord, as_record, utc_now
from ...structures import (
    Chunks,
    Collection,
    Listing,
    ModelCodec,
    Plan,
    ReadSet,
    RepairReport,
    afterwards,
    content_driver,
    transact,
)
from .._formats import BLOB

__all__ = ["BlobStore"]


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


Source: TypeAlias = bytes | _Readable | AsyncIterable[bytes] | Iterable[bytes]
"""Bytes, a binary file, or an iterable of bytes."""


@checked_arguments
class BlobStore:
    """Bytes by id, newest first. A blob exists once all of it is stored, and never changes."""

    def __init__(self, driver: Driver) -> None:
        self._driver = content_driver(driver)
        self._chunks = Chunks(self._driver)
        self._records: Collection[BlobRecord] = Collection(
            self._driver,
            "blobs",
            ModelCodec(BlobRecord, BLOB),
            id_of=lambda record: record.id,
            created_at=lambda record: round(record.created_at.timestamp() * 1000),
        )

    async def create(
        self,
        source: Source,
        *,
        content_type: str | None = None,
        id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> BlobRecord:
        """Store bytes of any length in constant memory, and return their record.

        A file is read from its current position, in a thread, and left open. Raises `ConflictError` if the id is taken;
        what had been stored is then freed.
        """
        owner = new_etag()
        chosen = uuid4().hex if id is None else id
        await self._chunks.announce(owner, {"owner": owner, "at": self._records.key(chosen)})
        content = await self._chunks.write(owner, _cut(_pieces(source), self._chunks.size))
        record = as_record(
            BlobRecord,
            {
                "id": chosen,
                "size": content.size,
                "sha256": content.sha256,
                "content_type": content_type,
                "name": name,
                "metadata": None if metadata is None else dict(metadata),
                "created_at": utc_now(),
                "chunks": owner,
                "chunk_size": content.chunk_size,
            },
        )
        try:
            await self._records.save(record, if_absent=True)
        except ConflictError as taken:
            await self._chunks.release(owner)
            raise ConflictError(f"the blob {chosen!r} already exists: choose another id", items=taken.items) from None
        return record

    async def get(self, id: str) -> BlobRecord | None:
        """Return the record of a blob, or `None`."""
        return await self._records.get(id)

    async def exists(self, id: str) -> bool:
        """Return whether there is such a blob."""
        return await self._records.exists(id)

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[BlobRecord]:
        """List all blobs, newest first, without their bytes."""
        return self._records.all(limit=limit, cursor=cursor)

    async def read(self, id: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `end` (exclusive) in pieces, in constant memory.

        Raises `NotFoundError`, and `CorruptDataError` if the blob is deleted meanwhile.
        """
        record = await self._records.get(id)
        if record is None:
            raise NotFoundError(f"there is no blob {id!r}: create it first")
        if start < 0 or (end is not None and end < start):
            raise InvalidValueError(f"{start} to {end} is not a range of bytes: use 0 <= start <= end")
        end = record.size if end is None else min(end, record.size)
        if start >= end:
            return
        at = start // record.chunk_size * record.chunk_size
        async for chunk in self._chunks.read(record.chunks, first=start // record.chunk_size):
            yield chunk[max(0, start - at) : end - at]
            at += len(chunk)
            if at >= end:
                return
        raise CorruptDataError(f"the blob {id!r} ends after {at} of {record.size} bytes: it was deleted, or is damaged")

    async def read_bytes(self, id: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes of a blob, or a range of them, all at once. Raises `NotFoundError`."""
        return b"".join([piece async for piece in self.read(id, start=start, end=end)])

    async def delete(self, id: str) -> bool:
        """Delete a blob and free what no other blob uses; return whether there was one.

        Readers of the blob get `CorruptDataError` when they reach what is gone.
        """
        at = self._records.key(id)

        def plan(reads: ReadSet) -> Plan[str | None]:
            record = self._records.decode(reads[at], id)
            return Plan(self._records.plan_delete(reads, id), None if record is None else record.chunks)

        owner = await transact(self._driver, [at], plan)
        if owner is not None:
            await afterwards(self._chunks.release(owner))
        return owner is not None

    async def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return await self._records.repair(dry_run=dry_run)


async def _pieces(source: Source) -> AsyncIterator[bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        yield bytes(source)
    elif isinstance(source, AsyncIterable):
        async for piece in source:
            yield _checked(piece)
    elif callable(read := getattr(source, "read", None)):
        while piece := _checked(await asyncio.to_thread(read, 1024 * 1024)):
            yield piece
    elif isinstance(source, Iterable) and not isinstance(source, str):
        for piece in source:
            yield _checked(piece)
    else:
        raise InvalidValueError(
            f"a {type(source).__name__} does not yield bytes: pass bytes, a file opened with 'rb', or an iterator of bytes"
        )


def _checked(piece: object) -> bytes:
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise InvalidValueError(
            f"a blob consists of bytes, but this yielded {type(piece).__name__}: open the file with 'rb', or encode the text"
        )
    return bytes(piece)


async def _cut(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield the same bytes in pieces of one size, so that identical content is cut the same way, however it arrived."""
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        while len(rest) >= size:
            yield bytes(rest[:size])
            del rest[:size]
    if rest:
        yield bytes(rest)
