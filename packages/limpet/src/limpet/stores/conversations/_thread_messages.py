"""The messages of threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Required, TypedDict, TypeVar

from ..._arguments import checked_arguments
from ..._errors import ConflictError, InvalidValueError, NotFoundError
from ...driver import Check, Driver, Etag, Write, name
from ...records import ThreadMessage, ThreadRecord, as_record, utc_now
from ...structures import BatchPart, Collection, Listing, ReadSet, load_record
from .._formats import THREAD_MESSAGE
from ._messages import Messages

__all__ = ["NewThread", "ThreadMessages", "messages_of_threads"]

_MESSAGES = name("threads.messages")
R = TypeVar("R")


class NewThread(TypedDict, total=False):
    """How to create a thread that does not exist: `user_id` and `agent_name` are required."""

    user_id: Required[str]
    agent_name: Required[str]
    title: str | None
    metadata: Mapping[str, Any] | None


@checked_arguments
class ThreadMessages(ABC):
    """What `ThreadStore` does with messages."""

    _messages: Messages[ThreadMessage]
    _records: Collection[ThreadRecord]

    @abstractmethod
    async def _in_thread(self, thread_id: str, create: NewThread | None, add: Callable[[], Awaitable[R]]) -> R:
        """Call `add`. If the thread does not exist and `create` is given, create it."""

    async def add_message(
        self,
        thread_id: str,
        role: str,
        content: Any = None,
        *,
        id: str | None = None,
        unique: bool = False,
        create: NewThread | None = None,
        **more: Any,
    ) -> ThreadMessage:
        """Append a message and return it as stored, with its id, timestamp and seq.

        `more` is anything else that belongs to it: `metadata`, `name`, `tool_calls`, `tool_call_id`, your own fields.
        One driver call once the thread is known. With `unique`, a message whose id was already added with `unique`,
        even in shared history, is not added again: the stored one is returned. A thread that does not exist is created
        as `create` says; without `create`, `NotFoundError` is raised. Raises `InvalidValueError`.
        """
        fields = {**more, "role": role, "content": content} | ({} if id is None else {"id": id})
        message = as_record(ThreadMessage, fields)
        try:
            return await self._messages.add(thread_id, message, unique=unique)
        except NotFoundError:
            if create is None:
                raise
        return await self._in_thread(thread_id, create, lambda: self._messages.add(thread_id, message, unique=unique))

    async def add_messages(
        self,
        thread_id: str,
        messages: Sequence[ThreadMessage | Mapping[str, Any]],
        *,
        create: NewThread | None = None,
        metadata: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        if_match: Etag | None = None,
        also: BatchPart | None = None,
    ) -> Sequence[ThreadMessage]:
        """Append messages, such as those of a turn, all or none, and return them as stored.

        `metadata` is a function that takes the thread's metadata and returns the new metadata, which is stored in the
        same batch as the messages. It may run again if someone else writes first, so no change is lost; what it raises
        stores nothing. `if_match` is the etag of the thread (`get_with_etag`): `ConflictError` if the thread's record
        has changed. `also` are writes of your own for the same batch. `create` is as in `add_message`. One driver call
        once the thread is known, two with `metadata`, `if_match` or `also`. Raises `NotFoundError`.
        """
        records = [as_record(ThreadMessage, message) for message in messages]
        if metadata is None and if_match is None and also is None:
            return await self._in_thread(thread_id, create, lambda: self._messages.add_all(thread_id, records))
        at, part = self._records.key(thread_id), BatchPart.of(also)

        def plan(reads: ReadSet) -> Sequence[Write]:
            item, record = reads[at], self._records.decode(reads[at], thread_id)
            if item is None or record is None:
                raise NotFoundError(f"there is no thread {thread_id!r}: create it first")
            if if_match is not None and item.etag != if_match:
                raise ConflictError(f"the thread {thread_id!r} has changed: read it again", items={at: item})
            more = part.plan(reads)
            if metadata is None:
                return [Check(at, item.etag), *more]
            fields = {**dict(record), "metadata": dict(metadata(deepcopy(record.metadata))), "updated_at": utc_now()}
            return [*self._records.plan_save(reads, as_record(ThreadRecord, fields)), *more]

        keys = [at, *part.keys]
        return await self._in_thread(thread_id, create, lambda: self._messages.add_with(thread_id, records, keys, plan))

    async def pop_message(self, thread_id: str) -> ThreadMessage | None:
        """Remove the newest message and return it; `None` if there is none. Forks keep it.

        Concurrent calls get different messages. An unreadable message is removed and logged, and the one before it is
        returned. Three driver calls.
        """
        return await self._messages.pop(thread_id)

    def get_messages(
        self,
        thread_id: str,
        *,
        last: int | None = None,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        offset: int = 0,
    ) -> Listing[ThreadMessage]:
        """List the messages of a thread in the order they were added; none if the thread does not exist.

        `before` and `after` are seq numbers, exclusive. `last=50` returns the newest 50, oldest first; the page's
        cursor then leads to the ones before. `offset` skips messages from the start, without reading them.
        """
        return self._messages.list(
            thread_id, last=last, before=before, after=after, limit=limit, cursor=cursor, offset=offset
        )

    async def update_message(self, thread_id: str, message: str | int, **changes: Any) -> ThreadMessage:
        """Change fields of a message, given by id or seq, and return it. Its id, number and timestamp do not change.

        Raises `NotFoundError` if there is no such message, and `UnsupportedError` if a fork shares it.
        """
        fixed = {"id", "timestamp"} & changes.keys()
        if fixed:
            raise InvalidValueError(
                f"the {' and the '.join(sorted(fixed))} of a message cannot be changed: leave it out"
            )
        return await self._messages.change(
            thread_id, message, lambda old: as_record(ThreadMessage, {**old.model_dump(exclude_unset=True), **changes})
        )

    async def delete_message(self, thread_id: str, message: str | int) -> bool:
        """Remove one message, given by id or seq; return whether it was there. Forks keep it."""
        return await self._messages.remove(thread_id, message)

    async def count_messages(self, thread_id: str) -> int:
        """Return how many messages a thread has, without reading them; 0 if the thread does not exist."""
        return await self._messages.count(thread_id)

    async def clear_messages(self, thread_id: str) -> int:
        """Remove all messages of a thread, but not the thread; return how many there were. Forks keep theirs."""
        return await self._messages.clear(thread_id)

    async def truncate_after_message(self, thread_id: str, message: str | int) -> int:
        """Remove every message after one, given by id or seq, atomically; return how many were removed.

        Raises `NotFoundError` for an unknown id.
        """
        return await self._messages.truncate_after(thread_id, message)


def messages_of_threads(driver: Driver) -> Messages[ThreadMessage]:
    """Return the messages of all threads on a driver."""
    return Messages(driver, _MESSAGES, "thread", _load, THREAD_MESSAGE)


def _load(stored: str, where: str) -> ThreadMessage:
    return load_record(ThreadMessage, stored, where)
