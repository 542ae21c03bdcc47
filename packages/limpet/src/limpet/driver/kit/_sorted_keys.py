"""Sorted keys in memory: a list of short sorted lists, so that an insertion moves few keys."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from .._types import Key

__all__ = ["SortedKeys"]

_LOAD = 1000


class SortedKeys:
    """A sorted set of keys. Adding, removing, and starting anywhere in the order take logarithmic time."""

    __slots__ = ("_last", "_lists")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        ordered = sorted(set(keys))
        self._lists = [ordered[start : start + _LOAD] for start in range(0, len(ordered), _LOAD)]
        self._last = [part[-1] for part in self._lists]

    def add(self, key: Key) -> None:
        """Add a key that is not in the set."""
        if not self._lists:
            self._lists.append([key])
            self._last.append(key)
            return
        at = min(bisect_left(self._last, key), len(self._last) - 1)
        part = self._lists[at]
        insort(part, key)
        if len(part) > 2 * _LOAD:
            self._lists[at : at + 1] = [part[:_LOAD], part[_LOAD:]]
            self._last[at : at + 1] = [part[_LOAD - 1], part[-1]]
        else:
            self._last[at] = part[-1]

    def remove(self, key: Key) -> None:
        """Remove a key that is in the set."""
        at = bisect_left(self._last, key)
        part = self._lists[at]
        del part[bisect_left(part, key)]
        if part:
            self._last[at] = part[-1]
        else:
            del self._lists[at], self._last[at]

    def between(self, low: Key, high: Key | None, *, reverse: bool = False) -> Iterator[Key]:
        """Yield keys with `low <= key < high` (`None`: no end), in order or in reverse."""
        if reverse:
            return self._backwards(low, high)
        return self._forwards(low, high)

    def _forwards(self, low: Key, high: Key | None) -> Iterator[Key]:
        at = bisect_left(self._last, low)
        start = bisect_left(self._lists[at], low) if at < len(self._lists) else 0
        while at < len(self._lists):
            part = self._lists[at]
            for index in range(start, len(part)):
                if high is not None and part[index] >= high:
                    return
                yield part[index]
            at += 1
            start = 0

    def _backwards(self, low: Key, high: Key | None) -> Iterator[Key]:
        at = len(self._lists) - 1 if high is None else min(bisect_left(self._last, high), len(self._lists) - 1)
        while at >= 0:
            part = self._lists[at]
            for index in range((len(part) if high is None else bisect_left(part, high)) - 1, -1, -1):
                if part[index] < low:
                    return
                yield part[index]
            at -= 1

    def __len__(self) -> int:
        return sum(map(len, self._lists))
