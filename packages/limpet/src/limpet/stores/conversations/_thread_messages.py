"""The messages of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..._arguments import checked_arguments
from ..._errors import InvalidValueError
from ...driver import Driver, name
from ...records import ThreadMessage, as_record
from ...structures import Listing, load_record
from .._formats import THREAD_MESSAGE
from ._messages import Messages

__all__ = ["ThreadMessages", "messages_of_threads"]

_MESSAGES = name("threads.messages")


@checked_arguments
class ThreadMessages:
    """What `ThreadStore` does with messages."""

    _messages: Messages[ThreadMessage]

    async def add_message(
        self,
        thread_id: str,
        role: str,
        content: Any = None,
        *,
        id: str | None = None,
        unique: bool = False,
        **more: Any,
    ) -> ThreadMessage:
        """Append a message and return it as stored: with its id, timestamp and seq.

        `more` is whatever else belongs to it: `metadata`, `name`, `tool_calls`, `tool_call_id`, fields of your own. One
        driver call once the thread is known. With `unique` a message whose id was added with `unique` already, in shared
        history too, is not added again: the stored one is returned. Raises `NotFoundError`, and `InvalidValueError`.
        """
        fields = {**more, "role": role, "content": content} | ({} if id is None else {"id": id})
        return await self._messages.add(thread_id, as_record(ThreadMessage, fields), unique=unique)

    async def add_messages(
        self, thread_id: str, messages: Sequence[ThreadMessage | Mapping[str, Any]]
    ) -> Sequence[ThreadMessage]:
        """Append messages, a turn say, all of them or none, and return them as stored. Raises `NotFoundError`."""
        return await self._messages.add_all(thread_id, [as_record(ThreadMessage, message) for message in messages])

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
        """The messages of a thread in the order of adding; none for a thread that does not exist.

        `before` and `after` are seq numbers, excluded themselves. `last=50` gives the newest 50, oldest of them first; the
        page's cursor then leads to those before. `offset` skips as many from the start, without reading them.
        """
        return self._messages.list(
            thread_id, last=last, before=before, after=after, limit=limit, cursor=cursor, offset=offset
        )

    async def update_message(self, thread_id: str, message: str | int, **changes: Any) -> ThreadMessage:
        """Change fields of a message, named by id or seq, and return it; its id, number and timestamp stay.

        Raises `NotFoundError` for one that is not there, and `UnsupportedError` for one that a fork shares.
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
        """Remove one message, named by id or seq; return whether it was there. Forks keep it."""
        return await self._messages.remove(thread_id, message)

    async def count_messages(self, thread_id: str) -> int:
        """How many messages a thread has, without reading them; 0 for a thread that does not exist."""
        return await self._messages.count(thread_id)

    async def clear_messages(self, thread_id: str) -> int:
        """Remove all messages of a thread, which stays as it is; return how many there were. Forks keep theirs."""
        return await self._messages.clear(thread_id)

    async def truncate_after_message(self, thread_id: str, message: str | int) -> int:
        """Remove every message behind one, named by id or seq, atomically; return how many went.

        Raises `NotFoundError` for an id that is not there.
        """
        return await self._messages.truncate_after(thread_id, message)


def messages_of_threads(driver: Driver) -> Messages[ThreadMessage]:
    """All of them, on a driver."""
    return Messages(driver, _MESSAGES, "thread", _load, THREAD_MESSAGE)


def _load(stored: str, where: str) -> ThreadMessage:
    return load_record(ThreadMessage, stored, where)
