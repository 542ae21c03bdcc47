"""Retention policies, and one pass that deletes what they do not keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from heapq import heappop, heappush

from ..._errors import ConfigurationError, ConflictError, CorruptDataError, LeaseTimeoutError
from ...driver import Delete, Driver, Item, Key, Range, Write, is_number, key, split
from ...driver.kit import scan_pages
from ...structures import Log, Plan, ReadSet, collect_now, log_skipped, scan_all_each, scan_each, transact
from .._removal import Removal, Retained
from ..records import HISTORY, Revisions, lease_of

__all__ = ["Retention", "RetentionPolicies", "RetentionReport", "prune_entries", "prune_history"]
__all__ += ["prune_kv", "prune_records", "trim_log"]

_CHUNK = 256
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What to keep: what was last written less than `max_age` ago, and of that the newest `max_count`.

    Ages are measured with the backend's clock.
    """

    max_age: timedelta | None = None
    max_count: int | None = None

    def __post_init__(self) -> None:
        if self.max_age is None and self.max_count is None:
            raise ConfigurationError("this retention would keep everything: pass max_age=, max_count=, or both")
        if self.max_age is not None and self.max_age <= timedelta(0):
            raise ConfigurationError(f"max_age is {self.max_age}: it would delete everything; use clear() for that")
        if self.max_count is not None and self.max_count < 1:
            raise ConfigurationError(f"max_count is {self.max_count}: it would delete everything; use clear() for that")

    def cutoff(self, now: int) -> int:
        """What was last written before this moment is deleted: milliseconds since 1970, like `now`."""
        return 0 if self.max_age is None else now - round(self.max_age.total_seconds() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicies:
    """How long each store keeps its records; `None`: for ever.

    A container, an image or a session is deleted with everything that belongs to it: by age, only when all of that is
    too old; by count, when it is not among the last saved. Changing a session's messages counts as saving it.
    """

    containers: Retention | None = None
    images: Retention | None = None
    sessions: Retention | None = None
    messages: Retention | None = None
    """The messages of each session."""
    history: Retention | None = None
    """The revisions of each agent state. If a state is held at the time, it is left to the next pass."""
    checkpoints: Retention | None = None
    """The checkpoints of each namespace of each thread. The latest one is always kept."""
    checkpoint_threads: Retention | None = None
    """Threads with all their checkpoints, by when a checkpoint or a pending write was last put."""
    kv: Mapping[str, Retention] = field(default_factory=dict)
    """By namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionReport:
    """How many records one pass deleted because of each policy, without what belonged to them."""

    containers: int = 0
    images: int = 0
    sessions: int = 0
    messages: int = 0
    history: int = 0
    checkpoints: int = 0
    checkpoint_threads: int = 0
    kv: Mapping[str, int] = field(default_factory=dict)


async def prune_kv(driver: Driver, base: Key, retention: Retention, now: int) -> int:
    """Delete the records of a namespace that should not be kept; return how many. What is written meanwhile is kept."""
    removed = 0
    chunk: list[list[Write]] = []

    async def flush() -> int:
        outcomes = await driver.commit(chunk) if chunk else []
        chunk.clear()
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, ConflictError):
                raise outcome
        return outcomes.count(None)

    async for item, _ in _stale(driver, base, retention, now):
        chunk.append([Delete(item.key, item.etag)])
        if len(chunk) == _CHUNK:
            removed += await flush()
    return removed + await flush()


async def prune_records(driver: Driver, retained: Retained, retention: Retention, now: int) -> int:
    """Delete the records of a kind that should not be kept, with what belongs to them; return how many."""
    removed = 0
    async for item, moment in _stale(driver, retained.records.base, retention, now, retained.logs):
        try:
            id = await retained.records.id_at(item)
        except CorruptDataError as error:
            log_skipped(error)
            continue
        if id is None:
            continue
        own, *belonging = await retained.removals(id)
        cutoff = retention.cutoff(now)
        limit = cutoff if moment < cutoff else None
        if limit is not None and not await _all_older(driver, belonging, limit):
            continue
        # The record itself is deleted last: if this is interrupted, the next pass finds it again.
        for removal in belonging:
            await _remove(driver, removal, limit)
        removed += await _remove(driver, own, moment + 1)
    return removed


async def prune_entries(driver: Driver, retained: Retained, retention: Retention, now: int) -> int:
    """Cut off the oldest entries of each record's log that should not be kept; return how many."""
    removed = 0
    async for item in scan_all_each(driver, retained.records.base, values=False):
        if retained.logs is not None:
            removed += await trim_log(Log(driver, key(retained.logs, split(item.key)[-1])), retention, now)
    return removed


async def trim_log(log: Log, retention: Retention, now: int) -> int:
    """Cut off the oldest entries of a log that should not be kept; return how many."""
    first = 0
    if retention.max_count is not None and await log.count() > retention.max_count:
        left, before = retention.max_count, None
        while left and (
            entries := (await log.read_part(before=before, limit=min(left, _PAGE), reverse=True, past_damage=True))[0]
        ):
            left -= len(entries)
            first = before = entries[-1].seq
    if retention.max_age is not None:
        cutoff, limit = retention.cutoff(now), 1
        while entries := (await log.read_part(after=first - 1, limit=limit, past_damage=True))[0]:
            old = [entry.seq for entry in entries if entry.appended_at < cutoff]
            first = old[-1] + 1 if old else first
            if len(old) < len(entries):
                break
            limit = _PAGE
    return await log.trim(first) if first else 0


async def prune_history(driver: Driver, retention: Retention, now: int) -> int:
    """Delete the revisions of all agent states that should not be kept; return how many."""
    removed = 0
    async for item in scan_all_each(driver, HISTORY, values=False):
        if is_number(split(item.key)[-1]):
            continue
        at = item.key.removeprefix(f"{HISTORY}!")
        revisions = Revisions(at)
        try:
            found, _ = await revisions.read(driver, values=False)
        except CorruptDataError as error:
            log_skipped(error)
            continue
        cutoff = retention.cutoff(now)
        stale = {number for number, revision in found if revision.updated_at < cutoff}
        stale |= {number for number, _ in found[retention.max_count :]} if retention.max_count else set()
        if not stale:
            continue
        try:
            async with lease_of(driver, at).hold(timeout=0, reading=[revisions.base]) as handle:
                handle.saves = revisions.plan_drop(handle.reads[revisions.base], stale)
        except LeaseTimeoutError:
            continue
        removed += len(stale)
    return removed


async def _stale(
    driver: Driver, base: Key, retention: Retention, now: int, logs: Key | None = None
) -> AsyncIterator[tuple[Item, int]]:
    """Yield the items below `base` that should not be kept, without values, and when each was last written.

    No more than `max_count` items are in memory.
    """
    cutoff = retention.cutoff(now)
    newest: list[tuple[int, Key, Item]] = []
    some = Range(base, values=False, limit=min(_CHUNK, driver.capabilities.max_keys))
    async for page in scan_pages(partial(scan_each, driver), some):
        for item, moment in zip(page.items, await _moments(driver, page.items, logs), strict=True):
            if moment < cutoff:
                yield item, moment
            elif retention.max_count is not None:
                heappush(newest, (moment, item.key, item))
                if len(newest) > retention.max_count:
                    oldest, _, surplus = heappop(newest)
                    yield surplus, oldest


async def _moments(driver: Driver, items: Sequence[Item], logs: Key | None) -> Sequence[int]:
    if logs is None or not items:
        return [item.updated_at for item in items]
    found = await driver.get([Log(driver, key(logs, split(item.key)[-1])).counter for item in items], values=False)
    return [max(each.updated_at for each in pair if each) for pair in zip(items, found, strict=True)]


async def _all_older(driver: Driver, removals: Sequence[Removal], limit: int) -> bool:
    for removal in removals:
        found = await driver.get(removal.keys, values=False)
        if any(item is not None and item.updated_at >= limit for item in found):
            return False
    return True


async def _remove(driver: Driver, removal: Removal, limit: int | None) -> bool:
    """Remove a record unless something of it was written at `limit` or later; return whether it was removed."""

    def plan(reads: ReadSet) -> Plan[Sequence[Write]]:
        kept = limit is not None and any(item and item.updated_at >= limit for item in reads.values())
        writes = [] if kept else removal.plan(reads)
        return Plan(writes, writes)

    writes = await transact(driver, removal.keys, plan)
    await collect_now(driver, writes)
    return bool(writes)
