"""The steps of a graph."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ._base import Record, Timestamp

__all__ = ["CheckpointRecord", "PendingWrite"]


class PendingWrite(Record):
    """What a task of the step after a checkpoint has written already."""

    task_id: str
    index: int
    """Its place among the task's writes."""
    channel: str
    value: Any = None


class CheckpointRecord(Record):
    """One checkpoint of a thread, whole."""

    thread_id: str
    namespace: str = ""
    id: str
    parent_id: str | None = None
    checkpoint: Any
    """As it was put: JSON, with bytes wherever there were bytes."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    writes: list[PendingWrite] = Field(default_factory=list)
    """The pending writes, in the order of tasks and places."""
    created_at: Timestamp
    """By the backend's clock, when it was put last."""
