"""Was there a serial order? A search over what concurrent callers did and what they were told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from limpet.driver import Item, Key, Write

from .model import Model, Stored, failing, own_etag

__all__ = ["Applied", "Event", "Looked", "Refused", "Unknown", "explain"]


@dataclass(frozen=True, slots=True)
class Applied:
    """A batch that returned."""

    batch: Sequence[Write]


@dataclass(frozen=True, slots=True)
class Refused:
    """A batch that raised `ConflictError`, with the keys that it named and the items that it contained."""

    batch: Sequence[Write]
    keys: tuple[Key, ...]
    items: Mapping[Key, Item | None]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A batch that raised `OutcomeUnknownError`: it happened once or not at all."""

    batch: Sequence[Write]


@dataclass(frozen=True, slots=True)
class Looked:
    """What one `get`, or one page of `scan`, saw: everything that it requested, absent keys as `None`."""

    items: Mapping[Key, Item | None]


Event: TypeAlias = Applied | Refused | Unknown | Looked


def explain(before: Mapping[Key, Stored], events: Sequence[Event], after: Mapping[Key, Item]) -> list[int] | None:
    """Find an order in which the events, one after the other, lead from `before` to `after`; `None` if there is none.

    All events were concurrent. An order is right if each applied batch's conditions held at its turn, each refused
    batch named only keys that failed at its turn and contained what was stored there, and each read saw exactly the
    state at its turn. Returns indexes of `events`, without unknown events that never happened. The search is
    exhaustive: use it for about eight events.
    """
    return _Search(events, after).find(Model(dict(before)).items, frozenset(range(len(events))))


class _Search:
    def __init__(self, events: Sequence[Event], after: Mapping[Key, Item]) -> None:
        self.events = events
        self.after = after
        self.dead: set[tuple[frozenset[int], tuple[tuple[Key, Stored], ...]]] = set()

    def find(self, state: dict[Key, Stored], left: frozenset[int]) -> list[int] | None:
        if all(isinstance(self.events[place], Unknown) for place in left) and _same(state, self.after):
            return []
        here = (left, tuple(sorted(state.items(), key=lambda pair: pair[0])))
        if here in self.dead:
            return None
        for place in sorted(left):
            following = _step(state, self.events[place])
            if following is not None:
                rest = self.find(following, left - {place})
                if rest is not None:
                    return [place, *rest]
        self.dead.add(here)
        return None


def _step(state: dict[Key, Stored], event: Event) -> dict[Key, Stored] | None:
    """Return the state after an event; `None` if it cannot have happened at this point."""
    if isinstance(event, Looked):
        return state if all(_saw(state, key, item) for key, item in event.items.items()) else None
    if isinstance(event, Refused):
        failed = failing(state, event.batch)
        right = bool(event.keys) and failed.issuperset(event.keys) and not own_etag(state, event.batch)
        return state if right and all(_saw(state, key, item) for key, item in event.items.items()) else None
    model = Model(dict(state))
    return None if model.apply(event.batch) else model.items


def _saw(state: dict[Key, Stored], key: Key, item: Item | None) -> bool:
    stored = state.get(key)
    return item is None if stored is None else stored.is_(item)


def _same(state: dict[Key, Stored], after: Mapping[Key, Item]) -> bool:
    return state.keys() == after.keys() and all(stored.is_(after[key]) for key, stored in state.items())
