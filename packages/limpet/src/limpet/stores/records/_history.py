"""The revisions of an agent's state, saved in the same batch as the state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError
from ...driver import Delete, Driver, Item, Key, Put, Write, key, name, number
from ...structures import COUNTER_TTL_MS

__all__ = ["HISTORY", "Revision", "Revisions", "saved_at"]

T = TypeVar("T")

HISTORY = name("history")
"""Below it and a state's key: which revisions exist, and below that the revisions by number."""


@dataclass(frozen=True, slots=True)
class Revision(Generic[T]):
    """A state as it was saved."""

    number: int
    """Ascending from 1, never reused for the same state."""
    saved_at: datetime
    """UTC, by the backend's clock."""
    state: T


@dataclass(frozen=True, slots=True)
class _Kept:
    last: int = 0
    numbers: tuple[int, ...] = ()


class Revisions:
    """Where the revisions of the state at `at` are, and how they change.

    Only the holder of the state's lease writes them.
    """

    def __init__(self, at: Key) -> None:
        self.base: Key = key(HISTORY, at)

    def key(self, revision: int) -> Key:
        """Return the key of a revision."""
        return f"{self.base}!{number(revision)}"

    def plan_add(self, item: Item | None, stored: str, keep: int) -> Sequence[Write]:
        """Return the writes that add a revision and remove the oldest, so that `keep` are left."""
        kept = self._kept(item)
        new = kept.last + 1
        numbers = (*kept.numbers, new)[-keep:]
        return [Put(self.key(new), stored), *self._writes(kept, _Kept(new, numbers))]

    def plan_drop(self, item: Item | None, stale: Collection[int] | None = None) -> Sequence[Write]:
        """Return the writes that remove all stale revisions (`None`: all revisions); none if there are none."""
        kept = self._kept(item)
        numbers = tuple(n for n in kept.numbers if stale is not None and n not in stale)
        return [] if numbers == kept.numbers else self._writes(kept, replace(kept, numbers=numbers))

    def _writes(self, old: _Kept, new: _Kept) -> Sequence[Write]:
        value = to_json({"last": new.last, "kept": new.numbers}).decode()
        ttl = None if new.numbers else COUNTER_TTL_MS  # so that numbering continues, but not for ever
        return [Put(self.base, value, None, ttl), *(Delete(self.key(n)) for n in old.numbers if n not in new.numbers)]

    def _kept(self, item: Item | None) -> _Kept:
        if item is None:
            return _Kept()
        try:
            match from_json(item.value or ""):
                case {"last": int(last), "kept": [*numbers]}:
                    return _Kept(last, tuple(int(n) for n in numbers))
        except ValueError as error:
            raise CorruptDataError(f"the history at {item.key!r} cannot be read: {error}") from error
        raise CorruptDataError(f"the history at {item.key!r} was not written by Limpet")

    async def read(
        self, driver: Driver, *, before: int | None = None, limit: int | None = None, values: bool = True
    ) -> tuple[Sequence[tuple[int, Item]], bool]:
        """Return the newest revisions below `before`, at most `limit`, and whether there are more. Two driver calls."""
        (item,) = await driver.get([self.base])
        all_of_them = [n for n in self._kept(item).numbers[::-1] if before is None or n < before]
        numbers = all_of_them[:limit]
        items = await driver.get([self.key(n) for n in numbers], values=values) if numbers else []
        found = [(n, found) for n, found in zip(numbers, items, strict=True) if found is not None]
        return found, bool(found) and len(numbers) < len(all_of_them)


def saved_at(item: Item) -> datetime:
    """Return when an item was written, by the backend's clock."""
    return datetime.fromtimestamp(item.updated_at / 1000, UTC)
