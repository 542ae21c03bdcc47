"""Saving records that carry their own timestamps, and removing records with what belongs to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from .._errors import TooLargeError
from ..driver import Driver, Key, Write
from ..records import ContainerRecord, ImageRecord, SessionRecord, utc_now
from ..records._base import milliseconds
from ..structures import Collection, Known, Log, Plan, attempt, sweep_now

__all__ = ["Removal", "Retained", "created_at", "remove", "save_record", "stamped"]

Stamped = TypeVar("Stamped", ContainerRecord, ImageRecord, SessionRecord)


@dataclass(frozen=True, slots=True)
class Removal:
    """How one record is removed: what has to be known, and the writes that follow from it."""

    keys: Sequence[Key]
    plan: Callable[[Known], list[Write]]


@dataclass(frozen=True, slots=True)
class Retained:
    """One kind of records, as a retention policy sees it."""

    records: Collection[Any]
    removals: Callable[[str], Awaitable[Sequence[Removal]]]
    """From an id to how that record is removed, and after it each one that belongs to it."""
    logs: Key | None = None
    """What the logs of the records lie below, where they have logs."""


class _Dated(Protocol):
    @property
    def created_at(self) -> datetime | None: ...


def created_at(record: _Dated) -> int:
    """What lists are sorted by, in milliseconds since 1970."""
    return 0 if record.created_at is None else milliseconds(record.created_at)


async def save_record(
    driver: Driver, records: Collection[Stamped], record: Stamped, *, log: Log | None = None
) -> Stamped:
    """Store a record with the timestamps that its caller left out, and make the log that belongs to it, in one batch."""
    at = records.key(records.id_of(record))
    keys = [at, *(log.keys if log else ())]

    def plan(known: Known) -> Plan[Stamped]:
        full = stamped(record, records.decode_or_none(known[at]))
        writes = records.plan_save(known, full)
        if log is not None:
            writes += log.plan_create(known)
        return Plan(writes, full)

    return await attempt(driver, keys, plan, assume=dict.fromkeys(keys))


async def remove(driver: Driver, removals: Iterable[Removal]) -> None:
    """Remove records in one atomic batch, then free what short logs among them left.

    Raises `TooLargeError`, and removes nothing, where the driver takes no batch of that size.
    """
    removals = list(removals)

    def plan(known: Known) -> Plan[list[Write]]:
        writes = [write for removal in removals for write in removal.plan(known)]
        limit = driver.capabilities.max_writes
        if len(writes) > limit:
            raise TooLargeError(
                f"removing all of this at once takes {len(writes)} writes and this driver takes {limit} in a batch: "
                "remove what belongs to it first, in parts"
            )
        return Plan(writes, writes)

    await sweep_now(driver, await attempt(driver, [key for removal in removals for key in removal.keys], plan))


def stamped(record: Stamped, stored: Stamped | None) -> Stamped:
    """A record with the timestamps that its caller left out: `created_at` stays what is stored."""
    moment = utc_now()
    missing = {}
    if record.created_at is None:
        missing["created_at"] = moment if stored is None or stored.created_at is None else stored.created_at
    if record.updated_at is None:
        missing["updated_at"] = moment
    return record.model_copy(update=missing) if missing else record
