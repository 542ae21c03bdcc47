"""Checkpoints of graphs. For this floor; the public door is `limpet.stores`."""

from ._store import CheckpointStore

__all__ = [
    "CheckpointStore",
]
