"""Deleting records together with everything that belongs to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .._errors import TooLargeError
from ..driver import Driver, Key, Write
from ..structures import Collection, Plan, ReadSet, collect_now, transact

__all__ = ["Removal", "Retained", "remove"]


@dataclass(frozen=True, slots=True)
class Removal:
    """How to remove one record: the keys to read, and the writes that follow from them."""

    keys: Sequence[Key]
    plan: Callable[[ReadSet], list[Write]]


@dataclass(frozen=True, slots=True)
class Retained:
    """One kind of record, as retention policies see it."""

    records: Collection[Any]
    removals: Callable[[str], Awaitable[Sequence[Removal]]]
    """Return how to remove the record with an id, and then each record that belongs to it."""
    logs: Key | None = None
    """The key that the logs of the records are below, if they have logs."""


async def remove(driver: Driver, removals: Iterable[Removal]) -> None:
    """Remove records in one atomic batch, then free what their short logs left behind.

    Raises `TooLargeError`, and removes nothing, if the driver does not accept a batch of that size.
    """
    removals = list(removals)

    def plan(reads: ReadSet) -> Plan[list[Write]]:
        writes = [write for removal in removals for write in removal.plan(reads)]
        limit = driver.capabilities.max_writes
        if len(writes) > limit:
            raise TooLargeError(
                f"deleting all of this at once takes {len(writes)} writes, but this driver takes at most {limit} in a batch: "
                "first delete parts of what belongs to it"
            )
        return Plan(writes, writes)

    await collect_now(driver, await transact(driver, [key for removal in removals for key in removal.keys], plan))
