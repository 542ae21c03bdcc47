"""The head of a log: which of its numbers are visible. No I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self, TypeAlias

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError
from ...driver import Item, Key, Value

__all__ = ["Head", "Part"]

_LAST = 10**16
"""After every number."""


@dataclass(frozen=True, slots=True)
class Part:
    """Numbers `[first, end)` of a fork that are stored in another log, which may have been deleted since."""

    base: Key
    incarnation: int
    first: int
    end: int


_Parsed: TypeAlias = tuple[int, int, tuple[tuple[int, int], ...], bool, tuple[Part, ...]]


@dataclass(frozen=True, slots=True)
class Head:
    """The contents of a log's head item."""

    incarnation: int
    """Random, and part of every entry's key: the entries of a deleted log never reappear in a new one of its name."""
    low_watermark: int = 0
    """The first number that can be visible."""
    tombstones: tuple[tuple[int, int], ...] = ()
    """Removed ranges of numbers `[first, end)` above the low watermark, in order, never adjacent."""
    shared: bool = False
    """A fork was made.

    Written once, so that forks and appends do not conflict; what forks need is counted elsewhere.
    """
    parts: tuple[Part, ...] = ()
    """For a fork: where the numbers below its own are stored, in order. They never change."""

    @classmethod
    def read(cls, item: Item) -> Self:
        """Raises `CorruptDataError` if the item is not a head."""
        try:
            value = item.value or ""
            return cls(*(_parse_remembered if len(value) <= _SHORT else _parse)(value))
        except ValueError as error:
            raise CorruptDataError(
                f"the item at {item.key!r} should be the head of a log, but is not: {error}"
            ) from error

    def write(self) -> str:
        """Return the value of the head item."""
        written: dict[str, object] = {
            "incarnation": self.incarnation,
            "low_watermark": self.low_watermark,
            "tombstones": self.tombstones,
        }
        if self.shared:
            written["shared"] = True
        if self.parts:
            written["parts"] = [[part.base, part.incarnation, part.first, part.end] for part in self.parts]
        return to_json(written).decode()

    @property
    def own(self) -> int:
        """The first number that can be stored in the log itself."""
        return self.parts[-1].end if self.parts else 0

    def spans(self, base: Key) -> tuple[Part, ...]:
        """Where all numbers are stored, in order. The last span is the log's own, without an end yet."""
        return (*self.parts, Part(base, self.incarnation, self.own, 10**16 - 1))

    def count(self, following: int) -> int:
        """Return how many numbers are visible if `following` is the next number."""
        return max(0, following - self.low_watermark - sum(end - first for first, end in self.tombstones))

    def shows(self, number: int) -> bool:
        """Return whether a number is visible."""
        return number >= self.low_watermark and self.tombstone_at(number) is None

    def nth(self, index: int) -> int:
        """Return the number of the entry that has `index` visible entries before it."""
        number = self.low_watermark + index
        for first, end in self.tombstones:
            if number < first:
                break
            number += end - first
        return number

    def tombstone_at(self, number: int) -> tuple[int, int] | None:
        """Return the tombstone that covers a number."""
        at = bisect_right(self.tombstones, (number, _LAST)) - 1
        return self.tombstones[at] if at >= 0 and number < self.tombstones[at][1] else None

    def newest(self, following: int) -> int | None:
        """Return the last visible number below `following`."""
        number = following - 1
        while number >= self.low_watermark:
            tombstone = self.tombstone_at(number)
            if tombstone is None:
                return number
            number = tombstone[0] - 1
        return None

    def truncated(self, after: int, following: int) -> Self:
        """Return the head without the numbers above `after`."""
        first = max(after + 1, self.low_watermark)
        if first >= following:
            return self
        if first == self.low_watermark:
            return replace(self, low_watermark=following, tombstones=())
        kept = self.tombstones[: bisect_left(self.tombstones, (first, first))]
        if kept and kept[-1][1] >= first:
            first, kept = kept[-1][0], kept[:-1]
        return replace(self, tombstones=(*kept, (first, following)))._settled()

    def trimmed(self, before: int, following: int) -> Self:
        """Return the head without the numbers below `before`."""
        low_watermark = min(max(before, self.low_watermark), following)
        return replace(self, low_watermark=low_watermark)._settled()

    def without(self, number: int, following: int) -> Self:
        """Return the head without one number."""
        if number >= following or not self.shows(number):
            return self
        at = bisect_right(self.tombstones, (number, _LAST))
        first, end = number, number + 1
        before, behind = self.tombstones[:at], self.tombstones[at:]
        if before and before[-1][1] == first:
            first, before = before[-1][0], before[:-1]
        if behind and behind[0][0] == end:
            end, behind = behind[0][1], behind[1:]
        return replace(self, tombstones=(*before, (first, end), *behind))._settled()

    def cut_from(self, earlier: Self) -> list[tuple[int, int]]:
        """Return the ranges `[first, end)` that are hidden now and were not in an earlier head, in order."""
        known = earlier.tombstones
        new = set(self.tombstones).difference(known)  # few: what one cut makes
        if self.low_watermark > earlier.low_watermark:
            new.add((earlier.low_watermark, self.low_watermark))
        ranges: list[tuple[int, int]] = []
        for first, end in sorted(new):
            at = max(0, bisect_right(known, (first, _LAST)) - 1)
            first = max(first, earlier.low_watermark)
            while at < len(known) and known[at][0] < end:
                if first < known[at][0]:
                    ranges.append((first, known[at][0]))
                first = max(first, known[at][1])
                at += 1
            if first < end:
                ranges.append((first, end))
        return ranges

    def hidden(self) -> list[tuple[int, int]]:
        """Return the ranges `[first, end)` of the log's own numbers that are no longer visible."""
        ranges = [(0, self.low_watermark), *self.tombstones]
        return [(max(first, self.own), end) for first, end in ranges if end > max(first, self.own)]

    def forked(self, base: Key, end: int, incarnation: int, following: int) -> Self:
        """Return the head of a fork that shares the numbers below `end` and continues with `following` (>= `end`)."""
        if end <= self.low_watermark:
            return type(self)(incarnation, following)
        parts = [replace(part, end=min(part.end, end)) for part in self.spans(base)]
        tombstones = [(first, min(last, end)) for first, last in self.tombstones if first < end]
        if following > end:
            first = tombstones.pop()[0] if tombstones and tombstones[-1][1] == end else end
            tombstones.append((first, following))
        kept = tuple(part for part in parts if part.end > max(part.first, self.low_watermark))
        return type(self)(incarnation, self.low_watermark, tuple(tombstones), parts=kept)._settled()

    def _settled(self) -> Self:
        low_watermark = self.low_watermark
        gone = 0
        for first, end in self.tombstones:
            if first > low_watermark:
                break
            low_watermark = max(low_watermark, end)
            gone += 1
        return replace(self, low_watermark=low_watermark, tombstones=self.tombstones[gone:]) if gone else self


_SHORT = 1024
"""Only parsed heads of at most this many bytes are remembered; longer ones have many tombstones, and are rare."""


def _parse(value: Value) -> _Parsed:
    match written := from_json(value):
        case {"incarnation": int(incarnation), "low_watermark": int(low_watermark), "tombstones": [*tombstones]}:
            parts = tuple(
                Part(str(base), int(of), int(first), int(end)) for base, of, first, end in written.get("parts", ())
            )
            cut = tuple((int(first), int(end)) for first, end in tombstones)
            return incarnation, low_watermark, cut, written.get("shared") is True, parts
    raise ValueError("it lacks the incarnation, the low watermark or the tombstones")


_parse_remembered = lru_cache(maxsize=4096)(_parse)
