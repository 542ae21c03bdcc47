"""The head of a log: which of its numbers are visible. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError
from ...driver import Item, Key, Value

__all__ = ["Head", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """Numbers `[first, end)` of a fork that lie with another log, which may have been deleted since."""

    base: Key
    incarnation: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Head:
    """What a log's head item says."""

    incarnation: int
    """Random, part of every entry's key: entries of a deleted log never come back with a new one of its name."""
    floor: int = 0
    """The first number that may be visible."""
    gaps: tuple[tuple[int, int], ...] = ()
    """Ranges of numbers `[first, end)` above the floor that were cut off, in order, none touching another."""
    shared: bool = False
    """There was a fork. Written once, so that forks and appends do not meet; what forks need is counted elsewhere."""
    parts: tuple[Part, ...] = ()
    """Of a fork: where the numbers below its own ones lie, in order. They never change."""

    @classmethod
    def read(cls, item: Item) -> Self:
        """Raises `CorruptDataError` for an item that is no head."""
        try:
            return cls(*_parse(item.value or ""))
        except ValueError as error:
            raise CorruptDataError(
                f"the item at {item.key!r} should be the head of a log and is not: {error}"
            ) from error

    def write(self) -> str:
        """The value of the head item."""
        told: dict[str, object] = {"incarnation": self.incarnation, "floor": self.floor, "gaps": self.gaps}
        if self.shared:
            told["shared"] = True
        if self.parts:
            told["parts"] = [[part.base, part.incarnation, part.first, part.end] for part in self.parts]
        return to_json(told).decode()

    @property
    def own(self) -> int:
        """The first number that may lie with the log itself."""
        return self.parts[-1].end if self.parts else 0

    def spans(self, base: Key) -> tuple[Part, ...]:
        """Where all numbers lie, in order; the last one is the log's own, without an end yet."""
        return (*self.parts, Part(base, self.incarnation, self.own, 10**16 - 1))

    def count(self, following: int) -> int:
        """How many numbers are visible when `following` is the next one to be given."""
        return max(0, following - self.floor - sum(end - first for first, end in self.gaps))

    def shows(self, number: int) -> bool:
        """Whether a number is visible."""
        return number >= self.floor and not any(first <= number < end for first, end in self.gaps)

    def nth(self, index: int) -> int:
        """The number of the entry that `index` visible ones stand before."""
        number = self.floor + index
        for first, end in self.gaps:
            if number >= first:
                number += end - first
        return number

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

    def without(self, number: int, following: int) -> Self:
        """Without one number."""
        if number >= following or not self.shows(number):
            return self
        gaps: list[tuple[int, int]] = []
        for first, end in sorted([*self.gaps, (number, number + 1)]):
            if gaps and gaps[-1][1] == first:
                first = gaps.pop()[0]
            gaps.append((first, end))
        return replace(self, gaps=tuple(gaps))._settled()

    def cut_from(self, earlier: Self) -> list[tuple[int, int]]:
        """Ranges `[first, end)` that are hidden now and were not in an earlier head."""
        ranges = [(earlier.floor, self.floor), *self.gaps]
        for gap in earlier.gaps:
            pieces = [((first, min(end, gap[0])), (max(first, gap[1]), end)) for first, end in ranges]
            ranges = [piece for both in pieces for piece in both]
        return [(first, end) for first, end in ranges if first < end]

    def hidden(self) -> list[tuple[int, int]]:
        """Ranges `[first, end)` of the log's own numbers that are not visible any more."""
        ranges = [(0, self.floor), *self.gaps]
        return [(max(first, self.own), end) for first, end in ranges if end > max(first, self.own)]

    def forked(self, base: Key, end: int, incarnation: int, following: int) -> Self:
        """The head of a fork that shares the numbers below `end` and goes on with `following`, which is not below it."""
        if end <= self.floor:
            return type(self)(incarnation, following)
        parts = [replace(part, end=min(part.end, end)) for part in self.spans(base)]
        gaps = [(first, min(last, end)) for first, last in self.gaps if first < end]
        if following > end:
            first = gaps.pop()[0] if gaps and gaps[-1][1] == end else end
            gaps.append((first, following))
        kept = tuple(part for part in parts if part.end > max(part.first, self.floor))
        return type(self)(incarnation, self.floor, tuple(gaps), parts=kept)._settled()

    def _settled(self) -> Self:
        floor = self.floor
        gaps = [gap for gap in self.gaps if gap[1] > floor]
        while gaps and gaps[0][0] <= floor:
            floor = gaps.pop(0)[1]
        return replace(self, floor=floor, gaps=tuple(gaps))


@lru_cache(maxsize=4096)
def _parse(value: Value) -> tuple[int, int, tuple[tuple[int, int], ...], bool, tuple[Part, ...]]:
    match told := from_json(value):
        case {"incarnation": int(incarnation), "floor": int(floor), "gaps": [*gaps]}:
            parts = tuple(
                Part(str(base), int(of), int(first), int(end)) for base, of, first, end in told.get("parts", ())
            )
            cut = tuple((int(first), int(end)) for first, end in gaps)
            return incarnation, floor, cut, told.get("shared") is True, parts
    raise ValueError("it lacks the incarnation, the floor or the gaps")
