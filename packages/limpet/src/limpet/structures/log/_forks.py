"""Entries shared by forks of a log: their users are counted, and the last one frees them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError
from ...driver import Check, Delete, Driver, If, Item, Key, Put, Range, Write, key, name, number
from ...driver.kit import scan_pages
from .._transact import Plan, ReadSet, transact
from ._head import Head

__all__ = ["MOST_PARTS", "Branch", "collect_branch", "entries_of", "plan_alone", "plan_use"]
__all__ += ["receipts_of", "release", "shared_below", "users_key"]

Branch: TypeAlias = tuple[Key, int]
"""A log's base and one of its incarnations. Identifies entries, whether or not the log still exists."""

MOST_PARTS = 128
"""How many other logs a fork of a fork can have entries in."""

_ALL = 10**16 - 1


def entries_of(branch: Branch) -> Key:
    """Return the key that the entries are below."""
    return f"{branch[0]}!e!{number(branch[1])}"


def receipts_of(branch: Branch) -> Key:
    """Return the key that the receipts of unique entries are below."""
    return key(branch[0], name("u"), number(branch[1]))


def users_key(branch: Branch) -> Key:
    """Return the key that counts how many forks read the entries, and up to which number."""
    return key(branch[0], name("f"), number(branch[1]))


def plan_use(reads: ReadSet, branch: Branch, end: int) -> Put:
    """Return the write that counts one more fork, which reads the numbers below `end`."""
    at = users_key(branch)
    item = reads[at]
    users, upto = _read(item)
    counts = {"users": users + 1, "upto": max(upto, end)}
    return Put(at, to_json(counts).decode(), If.ABSENT if item is None else item.etag)


def shared_below(reads: ReadSet, branch: Branch) -> int:
    """Return the number below which forks may read the entries."""
    return _read(reads[users_key(branch)])[1]


def plan_alone(reads: ReadSet, branch: Branch) -> list[Write]:
    """Return the write that is refused if a fork starts to use the entries meanwhile."""
    at = users_key(branch)
    item = reads[at]
    if item is not None:
        return [Check(at, item.etag)]
    return [Put(at, to_json({"users": 0, "upto": 0}).decode(), If.ABSENT)]


async def release(driver: Driver, record: Item, branches: Sequence[Branch], promise: Put) -> bool:
    """Count one fork less on each branch, exactly once: in the batch that removes the garbage record of the fork.

    `promise` is written if a branch has no fork left, to have it collected. Returns whether it was written.
    """
    keys = [record.key, *map(users_key, branches)]

    def plan(reads: ReadSet) -> Plan[bool]:
        if reads[record.key] is None:
            return Plan([], False)
        writes: list[Write] = [Delete(record.key, record.etag)]
        left = False
        for at in keys[1:]:
            item = reads[at]
            users, upto = _read(item)
            if item is None:
                raise CorruptDataError(f"the item at {at!r} should count the forks of a log, but is missing")
            if users > 1:
                writes.append(Put(at, to_json({"users": users - 1, "upto": upto}).decode(), item.etag))
            else:
                writes.append(Delete(at, item.etag))
                left = True
        return Plan([*writes, promise] if left else writes, left)

    return await transact(driver, keys, plan)


async def collect_branch(driver: Driver, branch: Branch) -> int:
    """Free the entries that neither the log nor a fork of it can show any more; return how many. Safe to repeat.

    If the log hides an entry and no fork reads it, nobody can ever read it again: a fork is made of
    what the log shows, or of forks, which are counted as long as they exist.
    """
    base, incarnation = branch
    item, counted = await driver.get([base, users_key(branch)])
    head = None if item is None else Head.read(item)
    alive = head is not None and head.incarnation == incarnation
    users, upto = _read(counted)
    if not alive and not users:
        await driver.apply([Delete(users_key(branch))])
        return await driver.clear(entries_of(branch)) + await driver.clear(receipts_of(branch))
    hidden = head.hidden() if head is not None and alive else [(0, _ALL)]
    return await _free(driver, entries_of(branch), [(max(first, upto), end) for first, end in hidden if end > upto])


async def _free(driver: Driver, entries: Key, ranges: Iterable[tuple[int, int]]) -> int:
    freed = 0
    for first, end in ranges:
        after = None if first == 0 else key(entries, number(first - 1))
        hidden = Range(entries, after=after, before=key(entries, number(end)), limit=256, values=False)
        async for page in scan_pages(driver.scan, hidden):
            if page.items:
                await driver.apply([Delete(item.key) for item in page.items])
            freed += len(page.items)
    return freed


def _read(item: Item | None) -> tuple[int, int]:
    if item is None:
        return 0, 0
    try:
        match from_json(item.value or ""):
            case {"users": int(users), "upto": int(upto)}:
                return users, upto
    except ValueError as error:
        raise CorruptDataError(f"the item at {item.key!r} cannot be read: {error}") from error
    raise CorruptDataError(f"the item at {item.key!r} should count the forks of a log")
