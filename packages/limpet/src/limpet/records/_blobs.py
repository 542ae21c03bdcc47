"""The record of a blob, without its bytes."""

from __future__ import annotations

from ._base import Metadata, Record, Timestamp

__all__ = ["BlobRecord"]


class BlobRecord(Record):
    """Bytes that were stored whole."""

    id: str
    size: int
    """In bytes."""
    sha256: str
    """Of its bytes, as hexadecimal digits."""
    content_type: str | None = None
    name: str | None = None
    """A file's, say: for people."""
    metadata: Metadata | None = None
    created_at: Timestamp
    chunks: str
    """Whose chunks hold the bytes."""
    chunk_size: int
    """Bytes in each of them but the last."""
