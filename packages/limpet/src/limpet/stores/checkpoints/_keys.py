"""Where the checkpoints of a thread lie, and in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from ..._errors import CorruptDataError, InvalidValueError
from ...driver import Key, key, name, number, split, text

__all__ = [
    "DOCUMENTS",
    "INDEX",
    "NAMESPACES",
    "PARTS",
    "RUNS",
    "Address",
    "Sort",
    "is_sort",
    "number_of_write",
    "part_key",
    "position",
    "sort_in",
    "sort_of_id",
    "run_key",
    "up_to",
    "write_number",
]

DOCUMENTS, INDEX, NAMESPACES, PARTS, RUNS = name("d"), name("i"), name("n"), name("p"), name("r")

Sort = str
"""The number segments by which checkpoints are in order: one, a position, or three, an ordered id. Compared as text."""

_ORDERED = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[67][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SORT = re.compile(r"[0-9]{16}(?:![0-9]{16}![0-9]{16})?")
_IDS = 10**15
"""Added to the first segment of an ordered id: positions stay below it."""
_WRITES = 10**12
"""The number 0 of a pending write: those below it are negative."""
_BITS = 53
"""Of an id in one segment."""


def sort_of_id(id: str) -> Sort | None:
    """The place in the order that an id says itself: a canonical UUID of version 6 or 7. `None` for any other."""
    if not _ORDERED.fullmatch(id):
        return None
    bits, mask = UUID(id).int, (1 << _BITS) - 1
    return key(number(_IDS + (bits >> 2 * _BITS)), number(bits >> _BITS & mask), number(bits & mask))


def position(at: int) -> Sort:
    """The place in the order of the id that came as number `at`."""
    if not 0 <= at < _IDS:
        raise CorruptDataError(f"{at} is not the position of a checkpoint")
    return number(at)


def is_sort(written: str) -> bool:
    """Whether a text is a place in the order."""
    return _SORT.fullmatch(written) is not None


def up_to(documents: Key, sort: Sort) -> Key:
    """The key before which a checkpoint and its pending writes lie, and behind which all later ones do."""
    *before, last = split(sort)
    return key(documents, *before, number(int(last) + 1))


def sort_in(at: Key) -> tuple[Sort, bool]:
    """The place in the order of the document or pending write at a key, and whether it is a document."""
    segments = split(at)[4:]
    count = 3 if segments and segments[0] >= number(_IDS) else 1
    return "!".join(segments[:count]), len(segments) <= count


def run_key(base: Key, run_id: str) -> Key:
    """What is there if a thread has had checkpoints of a run; below it, the first one of each namespace."""
    return key(base, RUNS, text(run_id))


def part_key(base: Key, writer: int, at: int) -> Key:
    """Where a part lies."""
    return key(base, PARTS, number(writer), number(at))


def write_number(at: int) -> str:
    """The segment for the number of a pending write, which may be negative. Raises `InvalidValueError`."""
    if not -_WRITES < at < _WRITES:
        raise InvalidValueError(f"{at} cannot be the number of a pending write: use {1 - _WRITES:,} to {_WRITES - 1:,}")
    return number(_WRITES + at)


def number_of_write(at: Key) -> int:
    """The number of the pending write at a key."""
    return int(split(at)[-1]) - _WRITES


@dataclass(frozen=True, slots=True)
class Address:
    """Where a checkpoint lies, as far as its id says."""

    base: Key
    namespace: str
    id: str

    @property
    def sort(self) -> Sort | None:
        """Its place in the order, where the id says it."""
        return sort_of_id(self.id)

    @property
    def documents(self) -> Key:
        """What the checkpoints of the namespace lie below."""
        return key(self.base, DOCUMENTS, text(self.namespace))

    @property
    def namespace_key(self) -> Key:
        """What registers the namespace, and counts the ids that are not ordered."""
        return key(self.base, NAMESPACES, text(self.namespace))

    @property
    def index_key(self) -> Key:
        """What gives the position of an id that is not ordered."""
        return key(self.base, INDEX, text(self.namespace), text(self.id))

    def document(self, sort: Sort) -> Key:
        """The checkpoint itself."""
        return key(self.documents, sort)

    def write(self, sort: Sort, task_id: str, at: int) -> Key:
        """A pending write of it."""
        return key(self.documents, sort, text(task_id), write_number(at))
