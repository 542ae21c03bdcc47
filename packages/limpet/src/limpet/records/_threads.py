"""Threads, their messages, and feedback."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ._base import Json, Metadata, Record, Timestamp
from ._messages import Message

__all__ = ["FeedbackRecord", "ThreadMessage", "ThreadRecord"]


class ThreadRecord(Record):
    """A conversation of a user with an agent: its messages hang on it."""

    id: str
    user_id: str
    agent_name: str
    title: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    parent_thread_id: str | None = None
    """Of a fork: what it was forked from, which may have been deleted since."""
    fork_at: int | None = None
    """Of a fork: the seq of the last message that it shares. `None` where there was none yet."""
    ancestors: list[str] = Field(default_factory=list)
    """Of a fork: all it was forked from, oldest first."""
    created_at: Timestamp
    updated_at: Timestamp
    """When title or metadata changed last."""
    message_count: int = 0
    """As it was when read."""
    active_at: Timestamp | None = None
    """When its messages changed last, by the backend's clock, as it was when read; `None` where there are none."""


class ThreadMessage(Message):
    """A message of a thread; fields of your own are kept, too."""

    role: str
    content: Json = None
    """Text, or parts, or whatever can be written as JSON without losing anything."""
    name: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    metadata: Metadata | None = None


class FeedbackRecord(Record):
    """Feedback on a thread or on a message, or on an agent as such."""

    id: str
    thread_id: str | None = None
    """`None`: it is on no thread."""
    message_id: str | None = None
    user_id: str
    agent_name: str
    rating: int | None = Field(default=None, ge=1, le=5, strict=True)
    """1 to 5."""
    comment: str | None = None
    feedback_type: str = "rating"
    query: str | None = None
    """What was asked."""
    response: str | None = None
    """What was answered."""
    correction: str | None = None
    """What should have been answered."""
    metadata: Metadata = Field(default_factory=dict)
    created_at: Timestamp
