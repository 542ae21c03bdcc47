"""The frames of the journal and the index. A frame is read completely or not at all.

frame      length (4 bytes) · CRC-32 of the rest (4) · length of the head (4) · head (JSON) · contents · before (JSON)
head       [written at (ns since 1970), [change, ...]]
change     [key] for a deletion, else [key, kind, etag, updated_at, expires_at, digest, length of its content]
before     for each change the files that it replaced, {kind: [size, time of change]}; older releases wrote none
journal    one block of 512 bytes, then frames. The block is a frame that holds the `Header`, and at byte 480
           how far the files follow the journal (8 bytes, and their CRC-32)
index      frames without contents

A folder may come from somebody else, so all of this is checked before it is used: a key, a kind or a name of an index
that we would not write is a `CorruptDataError`, and no length is believed beyond what a file holds and we would write.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, TypeAlias
from zlib import crc32

from limpet._errors import CorruptDataError, FormatError, InvalidKeyError
from limpet.driver import Etag, Key, check_key
from pydantic_core import from_json, to_json

from ._folders import LARGEST
from ._layout import KINDS

__all__ = [
    "BLOCK",
    "LAYOUT",
    "MARK_AT",
    "Change",
    "Entry",
    "Header",
    "Seen",
    "frame",
    "frames",
    "mark",
    "marked",
    "scan",
]

BLOCK = 512
MARK_AT = 480
LAYOUT = 1
"""The version of everything in the hidden folder."""
_HEAD = struct.Struct("<III")
_MARK = struct.Struct("<QI")
_LARGEST = 384 * 1024 * 1024
"""Largest frame, in bytes: indenting makes a batch of 64 MiB at most four times as large."""
_LARGEST_HEAD = 16 * 1024 * 1024
_MOST_ROWS = 16384
_PART = 1024 * 1024
_INDEX = re.compile(r"index-[A-Za-z0-9_-]{1,64}")
_WORD = re.compile(r"[\x21-\x7e]{1,64}")
_MOST = 1 << 62
_NOTHING: dict[str, tuple[int, int]] = {}

Seen: TypeAlias = tuple[int, int]
"""Size and modification time (ns since 1970) of a file: compared for equality only, never ordered."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is recorded about an item, apart from its file."""

    kind: str
    """The extension of its file."""
    etag: Etag
    updated_at: int
    expires_at: int | None
    digest: str
    """Digest of the value. A file with another value was changed by someone else."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change to one key in a committed round."""

    key: Key
    entry: Entry | None
    """`None` if the key was deleted."""
    content: bytes = b""
    """The content of the file."""
    before: dict[str, Seen] = field(default_factory=dict)
    """The files of this key that the round replaced or removed, by kind."""
    span: tuple[int, int] = field(default=(0, 0), compare=False)
    """Offset and length of the content in the journal that it was read from."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a journal."""

    generation: str
    """Different for every journal."""
    index: str
    """The name of the index that the journal builds on."""
    index_bytes: int
    """How many bytes of the index are valid; writing what follows them was never completed."""
    synced: bool
    """Whether every round was synced before the files were changed."""

    def block(self, done: int) -> bytes:
        """Return the journal's first block."""
        head = to_json([LAYOUT, self.generation, self.index, self.index_bytes, self.synced])
        framed = _HEAD.pack(len(head) + 4, crc32(struct.pack("<I", len(head)) + head), len(head)) + head
        return framed.ljust(MARK_AT, b" ") + mark(done).ljust(BLOCK - MARK_AT, b"\0")

    @classmethod
    def of(cls, block: bytes) -> Header:
        """Parse a first block. Raises `FormatError` for a newer layout, `CorruptDataError` for a damaged block."""
        found = _frame_at(lambda offset, size: block[offset : offset + size], 0, min(MARK_AT, len(block)))
        if found is None:
            raise CorruptDataError("the first block of the journal is damaged")
        try:
            row = from_json(found[1])
        except ValueError as error:
            raise CorruptDataError("the first block of the journal is not JSON") from error
        if not isinstance(row, list) or not row or type(row[0]) is not int:
            raise CorruptDataError("the first block of the journal does not begin with a layout number")
        if row[0] > LAYOUT:
            raise FormatError(f"this folder has layout {row[0]}, but this release reads layout {LAYOUT}: upgrade")
        match row:
            case [1, str() as generation, str() as index, int() as index_bytes, bool() as synced] if (
                _WORD.fullmatch(generation) and _INDEX.fullmatch(index) and 0 <= index_bytes < _MOST
            ):
                return cls(generation, index, index_bytes, synced)
        raise CorruptDataError("the first block of the journal contains something that Limpet would not write")


def mark(done: int) -> bytes:
    """Return the note that the files are up to date with the journal up to this byte."""
    raw = done.to_bytes(8, "little")
    return _MARK.pack(done, crc32(raw))


def marked(block: bytes) -> int:
    """Return the byte up to which the files are up to date with the journal; the start if the note is damaged."""
    if len(block) < BLOCK:
        return BLOCK
    done, check = _MARK.unpack_from(block, MARK_AT)
    return max(BLOCK, done) if crc32(done.to_bytes(8, "little")) == check else BLOCK


def frame(at: int, changes: Sequence[Change]) -> bytes:
    """Return the frame of a round that is written at this time."""
    head = to_json([at, [_row(change) for change in changes]])
    parts = [struct.pack("<I", len(head)), head, *(change.content for change in changes)]
    if any(change.before for change in changes):
        parts.append(to_json([change.before for change in changes]))
    check = 0
    for part in parts:
        check = crc32(part, check)
    return b"".join([struct.pack("<II", sum(map(len, parts)), check), *parts])


def frames(raw: bytes) -> Iterator[tuple[int, int, list[Change]]]:
    """Like `scan`, for frames in memory and including contents."""
    for end, at, changes in scan(lambda offset, size: raw[offset : offset + size], 0, len(raw)):
        yield end, at, [replace(change, content=raw[slice(change.span[0], sum(change.span))]) for change in changes]


def scan(read: Callable[[int, int], bytes], start: int, end: int) -> Iterator[tuple[int, int, list[Change]]]:
    """Yield for each complete frame its end, when it was written, and its changes. Stops at the first incomplete one.

    `read` returns bytes for a size and an offset. Contents are checked piece by piece, and not kept.
    Raises `CorruptDataError` for a complete frame with something in it that Limpet would not write.
    """
    while (found := _frame_at(read, start, end)) is not None:
        here, start, head, contents = start, *found
        at, rows = _checked_head(head, here)
        checked = [_checked_row(row, here) for row in rows]
        rest = start - contents - sum(length for _, _, length in checked)
        if not 0 <= rest <= _LARGEST_HEAD:
            raise CorruptDataError(f"the frame at byte {here} does not have the content that it declares")
        befores = _checked_before(read(start - rest, rest), len(checked), here) if rest else repeat(_NOTHING)
        changes: list[Change] = []
        for (key, entry, length), before in zip(checked, befores, strict=False):
            changes.append(Change(key, entry, b"", before, (contents, length)))
            contents += length
        yield start, at, changes


def _frame_at(read: Callable[[int, int], bytes], start: int, end: int) -> tuple[int, bytes, int] | None:
    """Return end, head and start of the contents of the frame at `start`; `None` if it is incomplete."""
    if start + _HEAD.size > end:
        return None
    prefix = read(start, _HEAD.size)
    if len(prefix) < _HEAD.size:
        return None
    length, check, size = _HEAD.unpack(prefix)
    stop = start + 8 + length
    if length < 4 + size or stop > end:
        return None
    if length > _LARGEST or size > _LARGEST_HEAD:
        raise CorruptDataError(f"the frame at byte {start} claims {length} bytes, more than Limpet writes")
    contents = start + _HEAD.size + size
    head = read(start + _HEAD.size, size)
    found = crc32(head, crc32(struct.pack("<I", size)))
    for part in range(contents, stop, _PART):
        found = crc32(read(part, min(_PART, stop - part)), found)
    return (stop, head, contents) if found == check else None


def _row(change: Change) -> list[Any]:
    entry = change.entry
    if entry is None:
        return [change.key]
    return [
        change.key, entry.kind, entry.etag, entry.updated_at, entry.expires_at, entry.digest, len(change.content)
    ]  # fmt: skip


def _parsed(raw: bytes, at: int) -> Any:
    try:
        return from_json(raw)
    except ValueError as error:
        raise CorruptDataError(f"the frame at byte {at} is not JSON") from error


def _checked_head(raw: bytes, at: int) -> tuple[int, list[Any]]:
    match _parsed(raw, at):
        case [int() as written, list() as rows] if len(rows) <= _MOST_ROWS:
            return written, rows
    raise CorruptDataError(f"the frame at byte {at} has no list of changes, or one that is too long")


def _checked_row(row: object, at: int) -> tuple[Key, Entry | None, int]:
    """Return key, entry and content length of a change, checked."""
    match row:
        case [str() as key]:
            return _checked_key(key, at), None, 0
        case [str() as key, str() as kind, str() as etag, int() as updated, expires, str() as digest, int() as length]:
            if (
                kind in KINDS
                and _WORD.fullmatch(etag)
                and -_MOST < updated < _MOST
                and (expires is None or (type(expires) is int and -_MOST < expires < _MOST))
                and _WORD.fullmatch(digest)
                and 0 <= length <= LARGEST
            ):
                return _checked_key(key, at), Entry(kind, Etag(etag), updated, expires, digest), length
    raise CorruptDataError(f"the frame at byte {at} contains a change that Limpet would not write: {row!r:.200}")


def _checked_key(key: str, at: int) -> Key:
    try:
        check_key(key)
    except InvalidKeyError as error:
        raise CorruptDataError(f"the frame at byte {at} contains a key that Limpet would not write: {error}") from error
    return key


def _checked_before(raw: bytes, count: int, at: int) -> list[dict[str, Seen]]:
    found = _parsed(raw, at)
    if isinstance(found, list) and len(found) == count:
        try:
            return [{kind: (int(size), int(when)) for kind, (size, when) in each.items()} for each in found]
        except (AttributeError, TypeError, ValueError, OverflowError):
            pass
    raise CorruptDataError(f"the frame at byte {at} does not say what was there before")
