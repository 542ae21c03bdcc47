"""Limpet's records as the dictionaries that Agentomatic's stores return."""

from __future__ import annotations

from typing import Any

from limpet.records import ApprovalRecord, CheckpointRecord, FeedbackRecord, ThreadMessage, ThreadRecord

from ._state import unpacked

__all__ = ["approval_of", "checkpoint_of", "feedback_of", "message_of", "thread_of"]


def thread_of(record: ThreadRecord) -> dict[str, Any]:
    """A thread, which was updated when its record or its messages were."""
    changed = max(record.updated_at, record.active_at or record.updated_at)
    return {
        "id": record.id,
        "user_id": record.user_id,
        "agent_name": record.agent_name,
        "title": record.title,
        "metadata": record.metadata,
        "created_at": record.created_at.isoformat(),
        "updated_at": changed.isoformat(),
        "message_count": record.message_count,
        "parent_thread_id": record.parent_thread_id,
        "fork_message_index": record.fork_at,
    }


def message_of(thread_id: str, message: ThreadMessage) -> dict[str, Any]:
    """A message, whose id counts from 1 in its thread."""
    return {
        "id": (message.seq or 0) + 1,
        "thread_id": thread_id,
        "role": message.role,
        "content": message.content,
        "metadata": message.metadata or {},
        "timestamp": None if message.timestamp is None else message.timestamp.isoformat(),
    }


def feedback_of(record: FeedbackRecord) -> dict[str, Any]:
    """Feedback; its id is text."""
    return {
        "id": record.id,
        "thread_id": record.thread_id or record.metadata.get("thread_id", ""),
        "user_id": record.user_id,
        "agent_name": record.agent_name,
        "rating": record.rating,
        "comment": record.comment,
        "message_id": _number(record.message_id),
        "feedback_type": record.feedback_type,
        "query": record.query or "",
        "response": record.response or "",
        "correction": record.correction,
        "created_at": record.created_at.isoformat(),
    }


def approval_of(record: ApprovalRecord) -> dict[str, Any]:
    """A suspended state."""
    return {
        "id": record.id,
        "thread_id": record.thread_id,
        "agent_name": record.agent_name,
        "node_name": record.node_name,
        "state_snapshot": unpacked(record.state),
        "created_at": record.created_at.isoformat(),
        "expires_at": record.expires_at.isoformat(),
    }


def checkpoint_of(record: CheckpointRecord) -> dict[str, Any]:
    """A checkpoint."""
    return {
        "thread_id": record.thread_id,
        "checkpoint_ns": record.namespace,
        "checkpoint_id": record.id,
        "parent_checkpoint_id": record.parent_id,
        "checkpoint": record.checkpoint,
        "metadata": record.metadata or {},
        "created_at": record.created_at.isoformat(),
    }


def _number(message_id: str | None) -> int | str | None:
    """The number that Agentomatic gave; feedback that others stored has the id of a message."""
    return int(message_id) if message_id is not None and message_id.isdecimal() else message_id
