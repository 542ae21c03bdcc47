"""Retention, and the task that applies it. Internal to this floor; import from `limpet.stores`."""

from ._retention import (
    Retention,
    RetentionPolicies,
    RetentionReport,
    prune_entries,
    prune_history,
    prune_kv,
    prune_records,
    trim_log,
)
from ._upkeep import Upkeep

__all__ = [
    "Retention",
    "RetentionPolicies",
    "RetentionReport",
    "Upkeep",
    "prune_entries",
    "prune_history",
    "prune_kv",
    "prune_records",
    "trim_log",
]
