"""An append-only sequence: O(1) appends, pages in both directions, truncation that hides at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import randbelow
from typing import TypeAlias, TypeVar

from ..._errors import (
    ConflictError,
    InvalidValueError,
    NotFoundError,
)
from ..._json import ensure_readable
from ...driver import (
    Append,
    Check,
    Delete,
    Driver,
    If,
    Item,
    Key,
    Put,
    Value,
    Write,
    counter_key,
    key,
    number,
    text,
)
from .._afterwards import written
from .._keyed_locks import changing
from .._transact import COUNTER_TTL_MS, Plan, ReadSet, transact
from ._cache import LogCache
from ._entries import PART_BYTES, Entry, read_entries
from ._forks import (
    Branch,
    entries_of,
    receipts_of,
    users_key,
)
from ._garbage import collect_now, garbage_record, plan_free
from ._head import Head
from ._plans import HeadMovedError, following_of, missing, plan_append, plan_fork, plan_replace, plan_unique, visible

__all__ = ["Log"]

_Cut: TypeAlias = Callable[[Head, int], Head]
R = TypeVar("R")


class Log:
    """One log below `base`. Creating the object does no I/O.

    `base` contains the head, `base!n` the next number, `base!e!<incarnation>!<number>` the entries. Only create, fork,
    truncate, trim and delete write the head, so appends do not conflict there. An append is one driver call if the
    head is in the cache, otherwise two, whatever the length of the log. A read gets the entries and then the head (and
    the head first, if it is not in the cache), so that it never shows what was cut off before it began.
    """

    def __init__(self, driver: Driver, base: Key, cache: LogCache | None = None) -> None:
        self._driver = driver
        self.base = base
        self.counter: Key = counter_key(base)
        self._cache = cache or LogCache(1)
        self._warm: tuple[Item, Key, Check] | None = None

    # Creating and deleting.

    @property
    def keys(self) -> tuple[Key, Key]:
        """The keys that `plan_create` and `plan_delete` need."""
        return (self.base, self.counter)

    def plan_create(self, reads: ReadSet) -> list[Write]:
        """Return the writes that create an empty log, for the batch of what it belongs to; none if the log exists."""
        if reads[self.base] is not None:
            return []
        counter = reads[self.counter]
        head = Head(randbelow(10**16), 0 if counter is None else following_of(counter))
        return [
            Put(self.base, head.write(), If.ABSENT),
            Put(self.counter, str(head.low_watermark), If.ABSENT if counter is None else counter.etag),
        ]

    def plan_delete(self, reads: ReadSet) -> list[Write]:
        """Return the writes that delete the log. Its entries are hidden at once and freed later."""
        item, counter = reads[self.base], reads[self.counter]
        if item is None:
            return []
        writes: list[Write] = [Delete(self.base, item.etag)]
        if counter is not None:
            writes.append(Put(self.counter, counter.value or "0", counter.etag, COUNTER_TTL_MS))
            head = Head.read(item)
            items = head.count(following_of(counter))
            branch = (self.base, head.incarnation)
            if head.shared:
                writes.append(garbage_record(items, branches=(branch,)))
            elif following_of(counter) > 0:
                writes.append(garbage_record(items, prefixes=(entries_of(branch), receipts_of(branch))))
            if head.parts:
                branches = tuple((part.base, part.incarnation) for part in head.parts)
                writes.append(garbage_record(head.own, releases=branches))
        return writes

    async def create(self) -> bool:
        """Create an empty log, with numbers that continue those of an earlier one; return whether it was missing."""

        def plan(reads: ReadSet) -> Plan[bool]:
            writes = self.plan_create(reads)
            return Plan(writes, bool(writes))

        return await transact(self._driver, self.keys, plan, assume=dict.fromkeys(self.keys))

    async def delete(self) -> bool:
        """Delete the log; return whether it existed. The entries of a short log are freed before this returns."""

        def plan(reads: ReadSet) -> Plan[list[Write]]:
            writes = self.plan_delete(reads)
            return Plan(writes, writes)

        writes = await transact(self._driver, self.keys, plan)
        self._cache.put(self.base, None)
        await collect_now(self._driver, writes)
        return bool(writes)

    async def fork(self, target: Log, at: int | None = None) -> None:
        """Make `target` a log that shares the entries up to number `at` (default: all), and continues on its own.

        The cost does not depend on the length, because nothing is copied. Neither log sees what the other appends or
        cuts off afterwards; shared entries are kept as long as one of them needs them. Raises `NotFoundError` if there
        is no `at`, `ConflictError` if the target exists, `TooLargeError` for a fork with entries in more than 128 other
        logs.
        """
        await self.transact_fork(target, at, [], lambda reads, writes, end: Plan(writes, None))

    async def transact_fork(
        self, target: Log, at: int | None, keys: Sequence[Key], plan: Callable[[ReadSet, list[Write], int], Plan[R]]
    ) -> R:
        """Fork in the batch of what the target belongs to.

        `plan` is called with what is known (including `keys`), the writes of the fork, and the first number not shared.
        """
        while True:
            item = self._cache.get(self.base) or await self._head_item()
            head = Head.read(item)
            users = [users_key((part.base, part.incarnation)) for part in head.spans(self.base)]

            def planned(reads: ReadSet, head: Head = head) -> Plan[R]:
                return plan(reads, *plan_fork(reads, head.incarnation, self.keys, target.keys, at))

            try:
                async with changing(self._driver, users[-1]):
                    return await transact(self._driver, [*self.keys, *target.keys, *users, *keys], planned)
            except HeadMovedError:
                self._cache.put(self.base, None)

    # Writing.

    async def append(self, *values: Value, unique: str | None = None) -> int:
        """Append values in order, all or none, and return the number of the first one.

        With `unique` (for a single value), nothing is appended if there is an entry with that id: its number is
        returned. Raises `NotFoundError` if the log does not exist.
        """
        if unique is not None:
            return (await self.append_unique(values[0], unique))[0]
        if not values:
            raise InvalidValueError("append() needs at least one value")
        item = self._cache.get(self.base) or await self._head_item()
        while True:
            if self._warm is None or self._warm[0] is not item:
                self._warm = (item, self._entries(Head.read(item)), Check(self.base, item.etag))
            _, entries, check = self._warm
            unit = Append(self.counter, tuple([Put(entries, value) for value in values]), check)
            (outcome,) = await self._driver.commit((unit,))
            if isinstance(outcome, int):
                return outcome
            if not isinstance(outcome, ConflictError):
                raise outcome or AssertionError("an append was applied without a number")
            self._cache.put(self.base, outcome.items.get(self.base))
            item = outcome.items.get(self.base) or await self._head_item()

    async def append_unique(self, value: Value, id: str) -> tuple[int, bool]:
        """Append a value unless there is an entry with this id. Return its number and whether it is new.

        Two driver calls. An entry that was truncated or trimmed away does not count.
        """
        async with self._cache.locks.hold(self.base):
            while True:
                head = Head.read(self._cache.get(self.base) or await self._head_item())
                spans = head.spans(self.base)
                receipts = [key(receipts_of((part.base, part.incarnation)), text(id)) for part in spans]

                def plan(
                    reads: ReadSet, receipts: Sequence[Key] = receipts, incarnation: int = head.incarnation
                ) -> Plan[tuple[int, bool]]:
                    return plan_unique(reads, self.keys, incarnation, value, receipts)

                try:
                    return await transact(self._driver, [*self.keys, *receipts], plan)
                except HeadMovedError:
                    self._cache.put(self.base, None)

    async def truncate(self, after: int) -> int:
        """Cut off every entry after number `after` (-1: all of them); return how many were cut."""
        return await self._cut(lambda head, following: head.truncated(after, following))

    async def trim(self, before: int) -> int:
        """Cut off every entry before number `before`; return how many were cut."""
        return await self._cut(lambda head, following: head.trimmed(before, following))

    async def remove(self, seq: int) -> bool:
        """Remove one entry; return whether it was there. Each entry removed from the middle makes the head longer."""
        return await self._cut(lambda head, following: head.without(seq, following)) == 1

    async def pop(self) -> Entry | None:
        """Remove the last entry and return it, or `None` if there is none. Concurrent calls get different entries.

        Three driver calls. The value of an unreadable entry is `Unreadable`.
        """
        while found := await self.read(limit=1, reverse=True, past_damage=True):
            seq = found[0].seq

            def cut(head: Head, following: int, seq: int = seq) -> Head:
                return head.without(seq, following) if head.newest(following) == seq else head

            if await self._cut(cut):
                return found[0]
        return None

    async def transact_append(
        self, values: Sequence[Value], keys: Sequence[Key], plan: Callable[[ReadSet, list[Write], int], Plan[R]]
    ) -> R:
        """Append in the batch of what the log belongs to.

        `plan` is called with what is known (including `keys`), the writes of the append, and the number of the first
        value. Raises `NotFoundError` if the log does not exist.
        """

        def planned(reads: ReadSet) -> Plan[R]:
            return plan(reads, *plan_append(reads, self.keys, values))

        async with self._cache.locks.hold(self.base):
            return await transact(self._driver, [*self.keys, *keys], planned)

    async def replace(self, seq: int, change: Callable[[Entry], Value]) -> Entry:
        """Replace an entry with what `change` returns, keeping its number. Return the new entry.

        `change` is a plain function that may run again. Raises `NotFoundError` if there is no such entry, and
        `UnsupportedError` if a fork shares it, or may.
        """
        while True:
            item = self._cache.get(self.base) or await self._head_item()
            incarnation = Head.read(item).incarnation
            branch = (self.base, incarnation)
            at, users = key(entries_of(branch), number(max(0, seq))), users_key(branch)

            def plan(reads: ReadSet, branch: Branch = branch, at: Key = at) -> Plan[None]:
                return plan_replace(reads, branch, seq, at, change)

            try:
                await transact(self._driver, [self.base, at, users], plan)
            except HeadMovedError:
                self._cache.put(self.base, None)
                continue
            with written(f"entry {seq}"):
                changed = await self.get(seq)
            if changed is None:
                raise NotFoundError(f"there is no entry {seq} in the log at {self.base!r} any more")
            return changed

    # Reading.

    async def last(self, count: int) -> list[Entry]:
        """Return the last `count` entries, oldest first."""
        return (await self.read(limit=count, reverse=True))[::-1]

    async def count(self) -> int:
        """Return the number of entries, in one driver call without a scan; 0 if there is no log."""
        return visible(*await self._driver.get(self.keys))

    async def nth(self, index: int) -> int:
        """Return the number of the entry at this index, from 0 on, without reading entries; 0 if there is no log."""
        (item,) = await self._driver.get([self.base])
        return 0 if item is None else Head.read(item).nth(index)

    async def get(self, seq: int) -> Entry | None:
        """Return the entry with this number, if it is visible."""
        found = await self.read(after=seq - 1, before=seq + 1, limit=1)
        return found[0] if found else None

    async def read(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        reverse: bool = False,
        past_damage: bool = False,
    ) -> list[Entry]:
        """Return entries with `after < seq < before`, ascending or in reverse, at most `limit`.

        There are none if there is no log. Raises `CorruptDataError` for an unreadable entry; with `past_damage` its
        value is `Unreadable`.
        """
        return (await self._read(after, before, limit, reverse, None, past_damage))[0]

    async def read_part(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        reverse: bool = False,
        past_damage: bool = False,
    ) -> tuple[list[Entry], bool]:
        """Like `read`, and return whether there may be more: it stops after about 8 MiB, for reading in parts."""
        return await self._read(after, before, limit, reverse, PART_BYTES, past_damage)

    # Implementation.

    async def _read(
        self,
        after: int | None,
        before: int | None,
        limit: int | None,
        reverse: bool,
        most: int | None,
        past_damage: bool,
    ) -> tuple[list[Entry], bool]:
        item = self._cache.get(self.base)
        if item is None:
            (item,) = await self._driver.get([self.base])
        while item is not None:
            found, more, last_head = await read_entries(
                self._driver, self.base, Head.read(item), after, before, limit, reverse, most
            )
            self._cache.put(self.base, last_head)
            if not past_damage:
                for entry in found:
                    ensure_readable(entry.value)
            if last_head is None or Head.read(last_head).incarnation == Head.read(item).incarnation:
                return (found, more) if last_head is not None else ([], False)
            item = last_head  # the log was deleted and created again meanwhile
        self._cache.put(self.base, None)
        return [], False

    async def _cut(self, cut: _Cut) -> int:
        def plan(reads: ReadSet) -> Plan[int]:
            item, counter = reads[self.base], reads[self.counter]
            if item is None or counter is None:
                return Plan([], 0)
            head, following = Head.read(item), following_of(counter)
            shorter = cut(head, following)
            if shorter == head:
                return Plan([], 0)
            removed = head.count(following) - shorter.count(following)
            # On condition of the counter's etag: no append can come between reading it and cutting.
            writes: list[Write] = [
                Put(self.base, shorter.write(), item.etag),
                Put(self.counter, counter.value or "0", counter.etag),
            ]
            return Plan([*writes, *plan_free((self.base, head.incarnation), head, shorter)], removed)

        cut_off = await transact(self._driver, self.keys, plan)
        self._cache.put(self.base, None)
        return cut_off

    def _entries(self, head: Head) -> Key:
        return entries_of((self.base, head.incarnation))

    async def _head_item(self) -> Item:
        item, _ = await self._driver.get(
            self.keys
        )  # the counter too: an encrypted driver numbers the next append by it
        if item is None:
            raise missing(self.base)
        self._cache.put(self.base, item)
        return item
