"""Tasks as they are stored: a record for each, and entries by which it is listed, always written together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from limpet import ConfigurationError, CorruptDataError, FormatError, InvalidKeyError, InvalidValueError, Persistence
from limpet.driver import Delete, Driver, If, Item, Key, Put, Range, Write, key, text
from limpet.structures import Plan, ReadSet, get_each, log_skipped, transact

from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse, Task
from a2a.utils.constants import DEFAULT_LIST_TASKS_PAGE_SIZE
from a2a.utils.errors import InvalidParamsError
from a2a.utils.task import (
    ListTasksCursor,
    decode_list_tasks_cursor,
    decode_page_token,
    encode_list_tasks_cursor,
    validate_page_size,
)

from ._keys import below, entries, place_of, since, task_key, time_of
from ._messages import Owned, packed, unpacked

__all__ = ["TaskRecords"]

_PART = 1000
"""Entries counted in one driver call."""


class TaskRecords:
    """The tasks in a database, of all owners."""

    def __init__(self, persistence: Persistence, ttl: float | timedelta | None = None) -> None:
        self._persistence = persistence
        self._ttl_ms = None if ttl is None else _milliseconds(ttl)

    @property
    def _driver(self) -> Driver:
        return self._persistence.driver

    async def get(self, owner: str, task_id: str) -> Owned[Task] | None:
        """A task with its version, or `None`."""
        (item,) = await self._driver.get([task_key(owner, task_id)])
        return None if item is None else _read(item, owner, task_id)

    async def save(self, owner: str, task: Task) -> None:
        """Replace the task, or store a new one."""
        at = task_key(owner, task.id)

        def plan(reads: ReadSet) -> Plan[None]:
            return Plan(self._writes(owner, task, reads[at]), None)

        await transact(self._driver, [at], plan, assume={at: None})

    async def delete(self, owner: str, task_id: str) -> bool:
        """Remove a task, even one that cannot be read; return whether there was one."""
        at = task_key(owner, task_id)

        def plan(reads: ReadSet) -> Plan[bool]:
            item = reads[at]
            if item is None:
                return Plan([], False)
            known = _known(item, owner, task_id)
            listed = set() if known is None else entries(owner, known.message)
            return Plan([Delete(at, item.etag), *map(Delete, sorted(listed))], True)

        return await transact(self._driver, [at], plan)

    async def page(self, owner: str, params: ListTasksRequest) -> ListTasksResponse:
        """The page that the request asks for."""
        size = params.page_size or DEFAULT_LIST_TASKS_PAGE_SIZE
        if size < 0:
            validate_page_size(size)
        try:
            base = below(owner, params)
        except InvalidKeyError:  # a context that no task can have
            return ListTasksResponse(page_size=size)
        after = since(base, params.status_timestamp_after) if params.HasField("status_timestamp_after") else None
        start = await self._start(owner, base, params.page_token) if params.page_token else None
        tasks, more = await self._tasks(owner, Range(base, after=after, before=start, reverse=True), size)
        is_whole = start is None and not more
        return ListTasksResponse(
            tasks=tasks,
            page_size=size,
            total_size=len(tasks) if is_whole else await self._count(Range(base, after=after)),
            next_page_token=_token_after(tasks[-1]) if more else None,
        )

    async def _tasks(self, owner: str, range: Range, size: int) -> tuple[Sequence[Task], bool]:
        """Up to `size` tasks, and whether there are more."""
        tasks: list[Task] = []
        rest: Range | None = range
        while rest is not None and len(tasks) <= size:
            rest = replace(rest, limit=min(size + 1 - len(tasks), self._driver.capabilities.max_keys))
            page = await self._driver.scan(rest)
            listed = {entry.key: str(entry.value) for entry in page.items}
            items = await get_each(self._driver, [task_key(owner, each) for each in listed.values()])
            for (entry, task_id), item in zip(listed.items(), items, strict=True):
                try:
                    task = None if item is None else _read(item, owner, task_id).message
                except CorruptDataError as error:
                    log_skipped(error)
                    continue
                if task is not None and place_of(range.base, time_of(task), task.id) == entry:
                    tasks.append(task)  # else it has moved meanwhile
            rest = rest.beyond(page)
        return tasks[:size], len(tasks) > size

    async def _count(self, range: Range) -> int:
        found = 0
        rest: Range | None = replace(range, limit=_PART, values=False)
        while rest is not None:
            page = await self._driver.scan(rest)
            found += len(page.items)
            rest = rest.beyond(page)
        return found

    async def _start(self, owner: str, base: Key, token: str) -> Key:
        """The position in a page token; one of an older SDK names the first task of the page."""
        cursor = decode_list_tasks_cursor(token)
        try:
            if cursor is not None:
                return place_of(base, cursor.timestamp_ns, cursor.task_id)
            first = await self.get(owner, decode_page_token(token))
        except (InvalidKeyError, InvalidValueError):
            first = None
        if first is None:
            raise InvalidParamsError(f"Invalid page token: {token[:200]}")
        # A key below its own follows it directly, so the page begins with the task itself.
        return key(place_of(base, time_of(first.message), first.message.id), text(""))

    def _writes(self, owner: str, task: Task, item: Item | None) -> list[Write]:
        known = _known(item, owner, task.id)
        old = set() if known is None else entries(owner, known.message)
        new = entries(owner, task)
        afresh = self._ttl_ms is not None or (item is not None and item.ttl_ms is not None)
        stored = packed(Owned(task, owner, 1 if known is None else known.version + 1))
        return [
            Put(task_key(owner, task.id), stored, If.ABSENT if item is None else item.etag, self._ttl_ms),
            *(Delete(entry) for entry in sorted(old - new)),
            *(Put(entry, task.id, None, self._ttl_ms) for entry in sorted(new if afresh else new - old)),
        ]


def _read(item: Item, owner: str, task_id: str) -> Owned[Task]:
    found = unpacked(item, Task)
    if (found.owner, found.message.id) != (owner, task_id):  # of another id with the same digest
        raise CorruptDataError(f"the item at {item.key!r} is not the task {task_id!r} of {owner!r}", key=item.key)
    return found


def _known(item: Item | None, owner: str, task_id: str) -> Owned[Task] | None:
    """What is replaced or deleted: also where it cannot be read, but not where a newer release can."""
    try:
        return None if item is None else _read(item, owner, task_id)
    except FormatError:
        raise
    except CorruptDataError:
        return None


def _token_after(task: Task) -> str:
    return encode_list_tasks_cursor(ListTasksCursor(time_of(task), task.id))


def _milliseconds(ttl: float | timedelta) -> int:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if not 0 < seconds < 1e11:
        raise ConfigurationError(f"ttl is {ttl!r}: pass more than 0 seconds, as a number or a timedelta")
    return max(1, round(seconds * 1000))
