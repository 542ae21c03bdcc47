"""A log's plans for appends and forks: pure functions of what was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from secrets import randbelow
from typing import TypeAlias

from ..._errors import ConflictError, CorruptDataError, NotFoundError, TooLargeError, UnsupportedError
from ...driver import Check, If, Item, Key, Put, Value, Write, entry_key
from ...driver.kit import counter_value
from .._transact import Plan, ReadSet
from ._entries import Entry, entry_of
from ._forks import MOST_PARTS, Branch, entries_of, plan_alone, plan_use, shared_below
from ._head import Head

__all__ = [
    "HeadMovedError",
    "LogKeys",
    "following_of",
    "missing",
    "plan_append",
    "plan_fork",
    "plan_replace",
    "plan_unique",
    "visible",
]

LogKeys: TypeAlias = tuple[Key, Key]
"""The keys of a log's head and counter."""


class HeadMovedError(Exception):
    """The log was deleted and created again since its head was read. Never visible to callers."""


def missing(base: Key) -> NotFoundError:
    """Return the error for a log that does not exist."""
    return NotFoundError(f"there is no log at {base!r}: create it first, unless it was deleted")


def visible(head: Item | None, counter: Item | None) -> int:
    """Return how many entries a log has, given the items at its `keys`."""
    return 0 if head is None or counter is None else Head.read(head).count(following_of(counter))


def following_of(counter: Item) -> int:
    """Return the next number of a log. Raises `CorruptDataError`."""
    found = counter_value(counter.value)
    if found is None:
        raise CorruptDataError(f"the item at {counter.key!r} should be the next number of a log")
    return found


def plan_fork(
    reads: ReadSet, incarnation: int, source: LogKeys, target: LogKeys, at: int | None
) -> tuple[list[Write], int]:
    """Return the writes that fork the log's `incarnation`, and the first number that is not shared.

    Raises `HeadMovedError`, `NotFoundError`, `ConflictError`, and `TooLargeError`.
    """
    (base, counter_at), (target_base, target_counter) = source, target
    item, counter, there = reads[base], reads[counter_at], reads[target_base]
    if item is None or counter is None:
        raise missing(base)
    head = Head.read(item)
    if head.incarnation != incarnation:
        raise HeadMovedError
    end = following_of(counter) if at is None else at + 1
    if at is not None and not (head.shows(at) and end <= following_of(counter)):
        raise NotFoundError(f"there is no entry {at} in the log at {base!r}: fork at an existing entry")
    if there is not None:
        raise ConflictError(f"there is already a log at {target_base!r}", items={target_base: there})
    earlier = reads[target_counter]
    following = end if earlier is None else max(end, following_of(earlier))
    forked = head.forked(base, end, randbelow(10**16), following)
    if len(forked.parts) > MOST_PARTS:
        raise TooLargeError(
            f"this would be a fork of forks, {MOST_PARTS} deep: copy the entries to a new log and continue with that"
        )
    uses = bool(forked.parts) and forked.parts[-1].incarnation == incarnation
    shared = replace(head, shared=head.shared or uses)
    writes: list[Write] = [
        Check(base, item.etag) if shared == head else Put(base, shared.write(), item.etag),
        Put(target_base, forked.write(), If.ABSENT),
        Put(target_counter, str(following), If.ABSENT if earlier is None else earlier.etag),
    ]
    writes += [plan_use(reads, (part.base, part.incarnation), part.end) for part in forked.parts]
    return writes, end


def plan_append(reads: ReadSet, log: LogKeys, values: Sequence[Value]) -> tuple[list[Write], int]:
    """Return the writes that append values, and the number of the first. Raises `NotFoundError` if there is no log."""
    base, counter_at = log
    item, counter = reads[base], reads[counter_at]
    if item is None:
        raise missing(base)
    first = 0 if counter is None else following_of(counter)
    entries = entries_of((base, Head.read(item).incarnation))
    puts = [Put(entry_key(entries, first + at), value) for at, value in enumerate(values)]
    following = Put(counter_at, str(first + len(values)), If.ABSENT if counter is None else counter.etag)
    return [Check(base, item.etag), following, *puts], first


def plan_replace(reads: ReadSet, branch: Branch, seq: int, at: Key, change: Callable[[Entry], Value]) -> Plan[None]:
    """Store what `change` returns in the place of entry `seq`, which is at `at`. Raises what `Log.replace` raises."""
    base, incarnation = branch
    head_item, there = reads[base], reads[at]
    if head_item is None:
        raise missing(base)
    head = Head.read(head_item)
    if head.incarnation != incarnation:
        raise HeadMovedError
    if head.shows(seq) and seq < max(head.own, shared_below(reads, branch)):
        raise UnsupportedError(f"entry {seq} is shared with a fork and cannot be changed: append a new entry")
    if there is None or not head.shows(seq):
        raise NotFoundError(f"there is no entry {seq} in the log at {base!r}")
    # Otherwise it could be forked, and the entry shared, meanwhile.
    alone = [Check(base, head_item.etag), *(plan_alone(reads, branch) if head.shared else ())]
    return Plan([*alone, Put(at, change(entry_of(there)), there.etag)], None)


def plan_unique(
    reads: ReadSet, log: LogKeys, incarnation: int, value: Value, receipts: Sequence[Key]
) -> Plan[tuple[int, bool]]:
    """Append a value unless one of `receipts`, one for each span of the log, names a visible entry.

    Raises `HeadMovedError` if the log has another incarnation, `NotFoundError` if there is no log.
    """
    base, _ = log
    item = reads[base]
    if item is None:
        raise missing(base)
    head = Head.read(item)
    if head.incarnation != incarnation:
        raise HeadMovedError
    for part, receipt in zip(head.spans(base), receipts, strict=True):
        for found in _numbers(reads[receipt]):
            if part.first <= found < part.end and head.shows(found):
                return Plan([], (found, False))
    receipt = receipts[-1]
    there = reads[receipt]
    writes, seq = plan_append(reads, log, [value])
    # A fork may still find this id under its earlier number.
    needed = [str(number) for number in _numbers(there)] if head.shared else []
    remembered = Put(receipt, " ".join([*needed, str(seq)]), If.ABSENT if there is None else there.etag)
    return Plan([*writes, remembered], (seq, True))


def _numbers(receipt: Item | None) -> list[int]:
    return [] if receipt is None else [int(number) for number in str(receipt.value).split()]
