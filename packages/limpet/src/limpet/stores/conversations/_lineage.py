"""Lineage: what was forked from what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..._errors import NotFoundError
from ...structures import Collection, Index

__all__ = ["FAMILY", "Lineage", "family", "lineage"]

T = TypeVar("T")

FAMILY = "family"


@dataclass(frozen=True, slots=True)
class Lineage(Generic[T]):
    """What a record was forked from, and what was forked from it, directly or not."""

    id: str
    ancestors: tuple[str, ...]
    """Oldest first, the direct parent last, including deleted ones."""
    descendants: tuple[str, ...]
    """Each after its parent. A deleted one is left out, but not what was forked from it."""
    records: Mapping[str, T]
    """All of these and the record itself, as far as they still exist."""


def family(ancestors_of: Callable[[T], Sequence[str] | None]) -> Index[T]:
    """Forks, found by their first ancestor."""

    def first(record: T) -> str | None:
        ancestors = ancestors_of(record)
        return ancestors[0] if ancestors else None

    return Index(FAMILY, first)


async def lineage(
    records: Collection[T], id: str, ancestors_of: Callable[[T], Sequence[str] | None], what: str
) -> Lineage[T]:
    """Four driver calls for a family of up to 200. Raises `NotFoundError`."""
    record = await records.get(id)
    if record is None:
        raise NotFoundError(f"there is no {what} {id!r}")
    ancestors = tuple(ancestors_of(record) or ())
    forks = [fork async for fork in records.find(FAMILY, (*ancestors, id)[0])]
    below = [fork for fork in forks if id in (ancestors_of(fork) or ())]
    below.reverse()
    below.sort(key=lambda fork: len(ancestors_of(fork) or ()))
    found = {id: record} | {records.id_of(fork): fork for fork in forks if records.id_of(fork) in ancestors}
    if ancestors and (oldest := await records.get(ancestors[0])) is not None:
        found[ancestors[0]] = oldest
    descendants = {records.id_of(fork): fork for fork in below}
    return Lineage(id, ancestors, tuple(descendants), found | descendants)
