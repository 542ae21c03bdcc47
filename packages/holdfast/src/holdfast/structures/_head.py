"""The head of a log: which of its numbers are visible. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

from pydantic_core import from_json, to_json

from .._errors import CorruptDataError
from ..driver import Item, Value

__all__ = ["Head"]


@dataclass(frozen=True, slots=True)
class Head:
    """What a log's head item says."""

    incarnation: int
    """Random, part of every entry's key: entries of a deleted log never come back with a new one of its name."""
    floor: int = 0
    """The first number that may be visible."""
    gaps: tuple[tuple[int, int], ...] = ()
    """Ranges of numbers `[first, end)` above the floor that were cut off, in order, none touching another."""

    @classmethod
    def read(cls, item: Item) -> Self:
        """Raises `CorruptDataError` for an item that is no head."""
        try:
            incarnation, floor, gaps = _parse(item.value or "")
        except ValueError as error:
            raise CorruptDataError(
                f"the item at {item.key!r} should be the head of a log and is not: {error}"
            ) from error
        return cls(incarnation, floor, gaps)

    def write(self) -> str:
        """The value of the head item."""
        return to_json({"incarnation": self.incarnation, "floor": self.floor, "gaps": self.gaps}).decode()

    def count(self, following: int) -> int:
        """How many numbers are visible when `following` is the next one to be given."""
        return max(0, following - self.floor - sum(end - first for first, end in self.gaps))

    def shows(self, number: int) -> bool:
        """Whether a number is visible."""
        return number >= self.floor and not any(first <= number < end for first, end in self.gaps)

    def gap_at(self, number: int) -> tuple[int, int] | None:
        """The gap that a number lies in."""
        return next((gap for gap in self.gaps if gap[0] <= number < gap[1]), None)

    def truncated(self, after: int, following: int) -> Self:
        """Without the numbers behind `after`."""
        first = max(after + 1, self.floor)
        if first >= following:
            return self
        if first == self.floor:
            return replace(self, floor=following, gaps=())
        kept = [gap for gap in self.gaps if gap[0] < first]
        if kept and kept[-1][1] >= first:
            first = kept.pop()[0]
        return replace(self, gaps=(*kept, (first, following)))._settled()

    def trimmed(self, before: int, following: int) -> Self:
        """Without the numbers below `before`."""
        floor = min(max(before, self.floor), following)
        return replace(self, floor=floor)._settled()

    def _settled(self) -> Self:
        floor = self.floor
        gaps = [gap for gap in self.gaps if gap[1] > floor]
        while gaps and gaps[0][0] <= floor:
            floor = gaps.pop(0)[1]
        return replace(self, floor=floor, gaps=tuple(gaps))


@lru_cache(maxsize=4096)
def _parse(value: Value) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    match from_json(value):
        case {"incarnation": int(incarnation), "floor": int(floor), "gaps": [*gaps]}:
            return incarnation, floor, tuple((int(first), int(end)) for first, end in gaps)
    raise ValueError("it lacks the incarnation, the floor or the gaps")
