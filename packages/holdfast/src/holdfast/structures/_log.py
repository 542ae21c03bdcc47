"""An append-only sequence: O(1) appends, pages both ways, truncation that hides at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from secrets import randbelow
from typing import TypeAlias

from .._errors import ConflictError, CorruptDataError, InvalidValueError, NotFoundError
from ..driver import Check, Delete, Driver, Etag, If, Item, Key, Put, Value, Write, key, name, number, text
from ..driver._judge import count_of
from ._attempt import Known, Plan, attempt
from ._head import Head
from ._keyed_locks import KeyedLocks
from ._sweeping import marker, sweep_now

__all__ = ["Entry", "Log", "LogCache"]

_INLINE = 256
"""Entries that a truncation deletes in its own batch; more of them are hidden at once and swept later."""
_COUNTER_TTL_MS = 30 * 24 * 60 * 60 * 1000
"""How long the counter outlives its log, so that a new log of that name goes on counting."""
_PAGE = 500

_Cut: TypeAlias = Callable[[Head, int], Head]


@dataclass(frozen=True, slots=True)
class Entry:
    """What was appended."""

    seq: int
    """Its number: ascending, never used twice, not without gaps once the log was truncated."""
    value: Value
    etag: Etag
    appended_at: int
    """Milliseconds since 1970 by the backend's clock."""


class LogCache:
    """The heads of the logs used last, so that a warm append or read asks for them no more than once."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._heads: OrderedDict[Key, Item] = OrderedDict()
        self.locks = KeyedLocks()

    def get(self, base: Key) -> Item | None:
        """The head as it was seen last."""
        if base in self._heads:
            self._heads.move_to_end(base)
            return self._heads[base]
        return None

    def put(self, base: Key, head: Item | None) -> None:
        """Remember a head, or that there is none."""
        self._heads.pop(base, None)
        if head is not None:
            self._heads[base] = head
            if len(self._heads) > self._size:
                self._heads.popitem(last=False)


class Log:
    """One log below `base`. Making the object costs nothing and does no IO.

    `base` holds the head, `base!n` the next number, `base!e!<incarnation>!<number>` the entries. The head is written
    only by create, truncate, trim and delete, so appends do not meet there: an append is one driver call when the
    head is in the cache, else two, however long the log is. A read takes the entries and then the head (and first
    the head, when it is not in the cache), so that it never shows what was cut off before it began.
    """

    def __init__(self, driver: Driver, base: Key, cache: LogCache | None = None) -> None:
        self._driver = driver
        self.base = base
        self.counter = key(base, name("n"))
        self._cache = cache or LogCache(1)
        self._warm: tuple[Item, Key, Check] | None = None

    # Life and death.

    @property
    def keys(self) -> tuple[Key, Key]:
        """What `plan_create` and `plan_delete` have to know."""
        return (self.base, self.counter)

    def plan_create(self, known: Known) -> list[Write]:
        """The writes that make an empty log, for the batch of what it belongs to; none where there is one."""
        if known[self.base] is not None:
            return []
        counter = known[self.counter]
        head = Head(randbelow(10**16), 0 if counter is None else self._number(counter))
        return [
            Put(self.base, head.write(), If.ABSENT),
            Put(self.counter, str(head.floor), If.ABSENT if counter is None else counter.etag),
        ]

    def plan_delete(self, known: Known) -> list[Write]:
        """The writes that end the log, whatever its length; its entries are hidden at once and swept later."""
        item, counter = known[self.base], known[self.counter]
        if item is None:
            return []
        writes: list[Write] = [Delete(self.base, item.etag)]
        if counter is not None:
            writes.append(Put(self.counter, counter.value or "0", counter.etag, _COUNTER_TTL_MS))
            head = Head.read(item)
            if self._number(counter) > 0:
                prefixes = (self._entries(head), self._receipts(head))
                writes.append(marker(head.count(self._number(counter)), prefixes=prefixes))
        return writes

    async def create(self) -> bool:
        """Make an empty log; answer whether there was none. Numbers go on where an earlier log of that name stopped."""

        def plan(known: Known) -> Plan[bool]:
            writes = self.plan_create(known)
            return Plan(writes, bool(writes))

        return await attempt(self._driver, self.keys, plan, assume=dict.fromkeys(self.keys))

    async def delete(self) -> bool:
        """End the log; answer whether there was one. The entries of a short log are freed before this returns."""

        def plan(known: Known) -> Plan[list[Write]]:
            writes = self.plan_delete(known)
            return Plan(writes, writes)

        writes = await attempt(self._driver, self.keys, plan)
        self._cache.put(self.base, None)
        await sweep_now(self._driver, writes)
        return bool(writes)

    # Writing.

    async def append(self, *values: Value, unique: str | None = None) -> int:
        """Append values in order, all or none, and answer the number of the first one.

        With `unique` (for a single value) nothing is appended where an entry with that id is there already: its
        number is answered. Raises `NotFoundError` where there is no log, or no longer.
        """
        if unique is not None:
            return (await self.append_unique(values[0], unique))[0]
        if not values:
            raise InvalidValueError("append() without a value: give at least one")
        item = self._cache.get(self.base) or await self._head_item()
        while True:
            if self._warm is None or self._warm[0] is not item:
                self._warm = (item, self._entries(Head.read(item)), Check(self.base, item.etag))
            _, entries, check = self._warm
            puts = [Put(entries, value) for value in values]
            try:
                return await self._driver.append(self.counter, puts, check)
            except ConflictError as conflict:
                self._cache.put(self.base, conflict.items.get(self.base))
                item = conflict.items.get(self.base) or await self._head_item()

    async def append_unique(self, value: Value, id: str) -> tuple[int, bool]:
        """Append a value unless an entry with this id is there; answer its number and whether it is new.

        Two driver calls. An entry that was truncated or trimmed away no longer counts.
        """
        seen: list[Item] = []

        async with self._cache.locks.hold(self.base):
            item = self._cache.get(self.base) or await self._head_item()
            while True:
                receipt = key(self._receipts(Head.read(item)), text(id))
                try:
                    result = await attempt(
                        self._driver,
                        [self.base, self.counter, receipt],
                        lambda known, receipt=receipt, base=item: self._plan_unique(known, value, receipt, base, seen),  # type: ignore[misc]
                    )
                except _HeadMoved:
                    item = seen[-1]
                    self._cache.put(self.base, item)
                else:
                    return result

    async def truncate(self, after: int) -> int:
        """Cut off every entry behind number `after` (-1: all of them); answer how many were cut."""
        return await self._cut(lambda head, following: head.truncated(after, following))

    async def trim(self, before: int) -> int:
        """Cut off every entry below number `before`; answer how many were cut."""
        return await self._cut(lambda head, following: head.trimmed(before, following))

    # Reading.

    async def last(self, count: int) -> list[Entry]:
        """The last `count` entries, oldest of them first."""
        return (await self.read(limit=count, reverse=True))[::-1]

    async def count(self) -> int:
        """How many entries there are: one driver call, without a scan. 0 where there is no log."""
        item, counter = await self._driver.get(self.keys)
        if item is None or counter is None:
            return 0
        return Head.read(item).count(self._number(counter))

    async def get(self, seq: int) -> Entry | None:
        """The entry with this number, if it is visible."""
        found = await self.read(after=seq - 1, before=seq + 1, limit=1)
        return found[0] if found else None

    async def read(
        self, *, after: int | None = None, before: int | None = None, limit: int | None = None, reverse: bool = False
    ) -> list[Entry]:
        """Entries with `after < seq < before`, in order or in reverse, at most `limit`; none where there is no log."""
        item = self._cache.get(self.base)
        if item is None:
            (item,) = await self._driver.get([self.base])
        while item is not None:
            found, last_head = await self._read(Head.read(item), after, before, limit, reverse)
            self._cache.put(self.base, last_head)
            if last_head is None or Head.read(last_head).incarnation == Head.read(item).incarnation:
                return found if last_head is not None else []
            item = last_head  # the log was deleted and made again while it was read
        self._cache.put(self.base, None)
        return []

    # How.

    async def _read(
        self, head: Head, after: int | None, before: int | None, limit: int | None, reverse: bool
    ) -> tuple[list[Entry], Item | None]:
        entries = self._entries(head)
        low = max(-1 if after is None else after, head.floor - 1)
        above = None if low < 0 else f"{entries}!{number(low)}"
        below = None if before is None else f"{entries}!{number(max(0, before))}"
        found: list[Item] = []
        while True:
            room = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = await self._driver.scan(entries, after=above, before=below, reverse=reverse, limit=room)
            found += [item for item in page.items if head.shows(_seq(item))]
            if page.next is None or len(found) == limit:
                (head_item,) = await self._driver.get([self.base])
                now = None if head_item is None else Head.read(head_item)
                if now is None or now.incarnation != head.incarnation:
                    return [], head_item
                if now != head:
                    found, head = [item for item in found if now.shows(_seq(item))], now
                if page.next is None or len(found) == limit:
                    return [_entry(item) for item in found], head_item
            position = _jump(head, int(page.next[-16:]), reverse)
            if reverse:
                below = f"{entries}!{number(position)}"
            else:
                above = f"{entries}!{number(position)}"

    async def _cut(self, cut: _Cut) -> int:
        def plan(known: Known) -> Plan[int]:
            item, counter = known[self.base], known[self.counter]
            if item is None or counter is None:
                return Plan([], 0)
            head, following = Head.read(item), self._number(counter)
            shorter = cut(head, following)
            if shorter == head:
                return Plan([], 0)
            removed = head.count(following) - shorter.count(following)
            # Under the counter's etag: no append slips in between reading it and cutting.
            writes: list[Write] = [
                Put(self.base, shorter.write(), item.etag),
                Put(self.counter, counter.value or "0", counter.etag),
            ]
            return Plan([*writes, *self._free(head, shorter, following)], removed)

        cut_off = await attempt(self._driver, self.keys, plan)
        self._cache.put(self.base, None)
        return cut_off

    def _free(self, head: Head, shorter: Head, following: int) -> list[Write]:
        """Delete what is hidden now and was not before: here where it is little, else through the sweeper."""
        entries = self._entries(head)
        hidden = [(head.floor, shorter.floor)] if shorter.floor > head.floor else []
        hidden += [gap for gap in shorter.gaps if gap not in head.gaps]
        if sum(end - first for first, end in hidden) <= _INLINE:
            return [Delete(f"{entries}!{number(n)}") for first, end in hidden for n in range(first, end)]
        items = sum(end - first for first, end in hidden)
        return [marker(items, ranges=tuple((entries, first, end) for first, end in hidden))]

    def _plan_unique(
        self, known: Known, value: Value, receipt: Key, base: Item, seen: list[Item]
    ) -> Plan[tuple[int, bool]]:
        item, counter, there = known[self.base], known[self.counter], known[receipt]
        if item is None:
            raise self._missing()
        head = Head.read(item)
        if head.incarnation != Head.read(base).incarnation:
            seen.append(item)
            raise _HeadMoved
        if there is not None and head.shows(int(there.value or "0")):
            return Plan([], (int(there.value or "0"), False))
        seq = 0 if counter is None else self._number(counter)
        writes: list[Write] = [
            Check(self.base, item.etag),
            Put(self.counter, str(seq + 1), If.ABSENT if counter is None else counter.etag),
            Put(f"{self._entries(head)}!{number(seq)}", value),
            Put(receipt, str(seq), If.ABSENT if there is None else there.etag),
        ]
        return Plan(writes, (seq, True))

    def _entries(self, head: Head) -> Key:
        return f"{self.base}!e!{number(head.incarnation)}"

    def _receipts(self, head: Head) -> Key:
        return key(self.base, name("u"), number(head.incarnation))

    async def _head_item(self) -> Item:
        (item,) = await self._driver.get([self.base])
        if item is None:
            raise self._missing()
        self._cache.put(self.base, item)
        return item

    def _missing(self) -> NotFoundError:
        return NotFoundError(f"there is no log at {self.base!r}: create it first, or it was deleted")

    def _number(self, counter: Item) -> int:
        found = count_of(counter.value)
        if found is None:
            raise CorruptDataError(f"the item at {self.counter!r} should hold the next number of a log")
        return found


class _HeadMoved(Exception):
    """The log was deleted and made again since its head was read."""


def _seq(item: Item) -> int:
    return int(item.key[-16:])


def _entry(item: Item) -> Entry:
    return Entry(_seq(item), item.value if item.value is not None else "", item.etag, item.updated_at)


def _jump(head: Head, position: int, reverse: bool) -> int:
    """Over the rest of a gap that a page ended in."""
    gap = head.gap_at(position)
    if gap is None:
        return position
    return gap[0] if reverse else gap[1] - 1
