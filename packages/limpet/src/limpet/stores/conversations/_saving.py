"""Saving records that contain their own timestamps."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, TypeVar

from ...driver import Driver
from ...records import ContainerRecord, ImageRecord, SessionRecord, milliseconds, utc_now
from ...structures import Collection, Log, Plan, ReadSet, transact

__all__ = ["created_at", "save_record", "stamped"]

Stamped = TypeVar("Stamped", ContainerRecord, ImageRecord, SessionRecord)


class _Dated(Protocol):
    @property
    def created_at(self) -> datetime | None: ...


def created_at(record: _Dated) -> int:
    """Return what lists are sorted by, in milliseconds since 1970."""
    return 0 if record.created_at is None else milliseconds(record.created_at)


async def save_record(
    driver: Driver, records: Collection[Stamped], record: Stamped, *, log: Log | None = None
) -> Stamped:
    """Store a record with the timestamps that its caller omitted, and create its log, in one batch."""
    at = records.key(records.id_of(record))
    keys = [at, *(log.keys if log else ())]

    def plan(reads: ReadSet) -> Plan[Stamped]:
        full = stamped(record, records.decode_or_none(reads[at]))
        writes = records.plan_save(reads, full)
        if log is not None:
            writes += log.plan_create(reads)
        return Plan(writes, full)

    return await transact(driver, keys, plan, assume=dict.fromkeys(keys))


def stamped(record: Stamped, stored: Stamped | None) -> Stamped:
    """Return a record with the timestamps that its caller omitted. The stored `created_at` is kept."""
    moment = utc_now()
    missing = {}
    if record.created_at is None:
        missing["created_at"] = moment if stored is None or stored.created_at is None else stored.created_at
    if record.updated_at is None:
        missing["updated_at"] = moment
    return record.model_copy(update=missing) if missing else record
