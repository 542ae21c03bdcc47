"""Containers, images and sessions, with AgentX's fields."""

from __future__ import annotations

from ._base import Metadata, Record, Timestamp

__all__ = ["ContainerRecord", "ImageRecord", "SessionRecord"]


class ContainerRecord(Record):
    """An isolation boundary that groups images."""

    container_id: str
    config: Metadata | None = None
    created_at: Timestamp | None = None
    """Filled in when it is saved first, if absent."""
    updated_at: Timestamp | None = None
    """Filled in when it is saved, if absent."""


class ImageRecord(Record):
    """A conversation's snapshot: who the assistant is, and which session holds its messages."""

    image_id: str
    container_id: str
    session_id: str
    name: str = "New Conversation"
    description: str | None = None
    system_prompt: str | None = None
    parent_image_id: str | None = None
    ancestors: list[str] | None = None
    """Of a fork: the ids of all images it was forked from, oldest first. Filled in when it is saved, if absent."""
    mcp_servers: Metadata | None = None
    metadata: Metadata | None = None
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None


class SessionRecord(Record):
    """A conversation's history: its messages hang on it."""

    session_id: str
    image_id: str | None = None
    container_id: str | None = None
    parent_session_id: str | None = None
    """Of a fork: what it was forked from, which may have been deleted since."""
    ancestors: list[str] | None = None
    """Of a fork: the ids of all sessions it was forked from, oldest first."""
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None
