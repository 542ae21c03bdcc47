"""What people call the families of stored items."""

from __future__ import annotations

from ..driver import Key, split

__all__ = ["kind_of"]

_KINDS = {
    "containers": "containers",
    "images": "images",
    "sessions": "sessions",
    "threads": "threads",
    "feedback": "feedback",
    "storage": "plain items",
    "kv": "records",
    "state": "agent states",
    "history": "revisions of states",
    "lease": "leases",
}


def kind_of(key: Key) -> str:
    """Return the family of an item, for tables that people read: `threads`, `messages`, `index entries of threads`."""
    segments = split(key)
    if segments[0] in ("messages", "threads.messages"):
        return "messages" if "e" in segments[2:3] else "conversation metadata"
    if segments[0].endswith(".by"):
        return f"index entries of {segments[0].removesuffix('.by')}"
    return _KINDS.get(segments[0], segments[0])
