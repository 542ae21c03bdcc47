"""A step that waits for a person's decision, and who decided."""

from __future__ import annotations

from typing import Literal

from ._base import Json, Metadata, Record, Timestamp

__all__ = ["ApprovalRecord", "ClaimRecord"]


class ClaimRecord(Record):
    """Who took an approval, and what for."""

    by: str
    decision: str
    """`approve`, `reject`, or a word of the application's."""
    reason: str | None = None
    claimed_at: Timestamp
    """By the clock of who claimed it: for people."""


class ApprovalRecord(Record):
    """A suspended state: the step that an agent stopped before, until someone decides."""

    id: str
    thread_id: str
    agent_name: str
    node_name: str
    state: Json = None
    """What the agent needs to go on, as JSON; models, dates and the like come back as the JSON that they became."""
    metadata: Metadata | None = None
    created_at: Timestamp
    expires_at: Timestamp
    """By the clock of who suspended it: for people. The backend's clock decides."""
    attempts: int = 0
    """How often it was claimed."""
    claim: ClaimRecord | None = None
    """The last one; of a decided approval the one that counts."""
    decided_at: Timestamp | None = None
    """When the claim was completed."""
    status: Literal["pending", "claimed", "decided"] = "pending"
    """As it was when read."""
