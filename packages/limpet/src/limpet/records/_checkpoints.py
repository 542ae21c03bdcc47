"""The steps of a graph."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ._base import Record, Timestamp

__all__ = ["CheckpointRecord", "PendingWrite"]


class PendingWrite(Record):
    """What a task of the step after a checkpoint has written already."""

    task_id: str
    task_path: str = ""
    """Where the task stands in the step, as it was given."""
    index: int
    """Its number among the task's writes; negative numbers are for those that replace each other."""
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
    channels: dict[str, Any] = Field(default_factory=dict)
    """The values that were put as channels, by name."""
    versions: dict[str, str | int | float] = Field(default_factory=dict)
    """The version of each channel."""
    writes: list[PendingWrite] = Field(default_factory=list)
    """The pending writes, in the order of task paths, tasks and numbers."""
    created_at: Timestamp
    """By the backend's clock, when it was put last."""
