"""Checkpoints of graphs. For this floor; the public door is `limpet.stores`."""

from ._retention import prune_all, prune_threads
from ._store import CheckpointStore

__all__ = [
    "CheckpointStore",
    "prune_all",
    "prune_threads",
]
