"""What the hidden folder's two files are made of: frames, whole or not at all.

frame      length (4 bytes) · CRC-32 of the rest (4) · length of the head (4) · head (JSON) · contents
head       [written at (ns since 1970), [change, ...]]
change     [key] for a deletion, else [key, kind, etag, updated_at, expires_at, digest, length of its content]
journal    one block of 512 bytes, then frames. The block is a frame that holds the `Header`, and at byte 480
           how far the files follow the journal (8 bytes, and their CRC-32)
index      frames without contents
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from limpet._errors import CorruptDataError, FormatError
from limpet.driver import Etag, Key
from pydantic_core import from_json, to_json

__all__ = ["BLOCK", "LAYOUT", "MARK_AT", "Change", "Entry", "Header", "frame", "frames", "mark", "marked"]

BLOCK = 512
MARK_AT = 480
LAYOUT = 1
"""Of everything in the hidden folder."""
_HEAD = struct.Struct("<III")
_MARK = struct.Struct("<QI")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is on record about an item beside its file."""

    kind: str
    """How its file ends."""
    etag: Etag
    updated_at: int
    expires_at: int | None
    digest: str
    """Of the value; a file that holds another one was changed by somebody else."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key of a committed round."""

    key: Key
    entry: Entry | None
    """`None`: deleted."""
    content: bytes = b""
    """What stands in the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a journal begins with."""

    generation: str
    """Another one for every journal."""
    index: str
    """The name of the index on which the journal builds."""
    index_bytes: int
    """How much of the index counts; what stands behind it was never completed."""
    synced: bool
    """Whether every round was synced before the files followed."""

    def block(self, done: int) -> bytes:
        """The journal's first block."""
        head = to_json([LAYOUT, self.generation, self.index, self.index_bytes, self.synced])
        framed = _HEAD.pack(len(head) + 4, crc32(struct.pack("<I", len(head)) + head), len(head)) + head
        return framed.ljust(MARK_AT, b" ") + mark(done).ljust(BLOCK - MARK_AT, b"\0")

    @classmethod
    def of(cls, block: bytes) -> Header:
        """Read a first block. Raises `FormatError` for a newer layout, `CorruptDataError` for a damaged one."""
        found = _frame_at(block[:MARK_AT], 0)
        if found is None:
            raise CorruptDataError("the first block of the journal is damaged")
        layout, *fields = from_json(found[1])
        if layout != LAYOUT:
            raise FormatError(f"this folder has layout {layout}, and this release reads layout {LAYOUT}: upgrade")
        return cls(*fields)


def mark(done: int) -> bytes:
    """The note that the files follow the journal up to this byte."""
    raw = done.to_bytes(8, "little")
    return _MARK.pack(done, crc32(raw))


def marked(block: bytes) -> int:
    """The byte up to which the files follow the journal; the beginning where the note is damaged."""
    done, check = _MARK.unpack_from(block, MARK_AT)
    return max(BLOCK, done) if crc32(done.to_bytes(8, "little")) == check else BLOCK


def frame(at: int, changes: Sequence[Change]) -> bytes:
    """A frame for a round, written at this time."""
    head = to_json([at, [_row(change) for change in changes]])
    parts = [struct.pack("<I", len(head)), head, *(change.content for change in changes)]
    check = 0
    for part in parts:
        check = crc32(part, check)
    return b"".join([struct.pack("<II", sum(map(len, parts)), check), *parts])


def frames(raw: bytes) -> Iterator[tuple[int, int, list[Change]]]:
    """Where each whole frame ends, when it was written, and its changes; stops at the first that is not whole."""
    start = 0
    while (found := _frame_at(raw, start)) is not None:
        end, head, contents = found
        at, rows = from_json(head)
        changes: list[Change] = []
        for row in rows:
            change, length = _change(row)
            changes.append(Change(change.key, change.entry, raw[contents : contents + length]))
            contents += length
        yield end, at, changes
        start = end


def _frame_at(raw: bytes, start: int) -> tuple[int, bytes, int] | None:
    """End, head and beginning of the contents of the frame at `start`, `None` where none is whole."""
    if start + _HEAD.size > len(raw):
        return None
    length, check, head = _HEAD.unpack_from(raw, start)
    end = start + 8 + length
    if length < 4 + head or end > len(raw) or crc32(memoryview(raw)[start + 8 : end]) != check:
        return None
    contents = start + _HEAD.size + head
    return end, raw[start + _HEAD.size : contents], contents


def _row(change: Change) -> list[Any]:
    entry = change.entry
    if entry is None:
        return [change.key]
    return [
        change.key, entry.kind, entry.etag, entry.updated_at, entry.expires_at, entry.digest, len(change.content)
    ]  # fmt: skip


def _change(row: list[Any]) -> tuple[Change, int]:
    if len(row) == 1:
        return Change(row[0], None), 0
    key, kind, etag, updated_at, expires_at, digest, length = row
    return Change(key, Entry(kind, etag, updated_at, expires_at, digest)), length
