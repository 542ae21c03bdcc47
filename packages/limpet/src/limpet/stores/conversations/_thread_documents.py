"""What threads store outside of their records: counts, the index by user and agent, and marks of deletions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError
from ...driver import Item
from ...records import ThreadRecord
from ...structures import visible

__all__ = ["ThreadStats", "both", "id_of_deleted", "with_messages"]


@dataclass(frozen=True, slots=True)
class ThreadStats:
    """How many there are of each."""

    threads: int
    feedback: int
    messages: int | None
    """`None` unless requested."""


def with_messages(record: ThreadRecord, head: Item | None, counter: Item | None) -> ThreadRecord:
    """Return a thread with its message count and the time when its messages last changed."""
    count = visible(head, counter)
    if not count or counter is None:
        return record
    moment = datetime.fromtimestamp(counter.updated_at / 1000, UTC)
    return record.model_copy(update={"message_count": count, "active_at": moment})


def both(user_id: str, agent_name: str) -> str:
    """Return the value of the index by user and agent."""
    return to_json([user_id, agent_name]).decode()


def id_of_deleted(item: Item) -> str:
    """Return the id in the mark of a deleted thread. Raises `CorruptDataError`."""
    try:
        match from_json(item.value or ""):
            case [str(thread_id)]:
                return thread_id
    except ValueError as error:
        raise CorruptDataError(f"the item at {item.key!r} cannot be read: {error}") from error
    raise CorruptDataError(f"the item at {item.key!r} should name a thread that was deleted")
