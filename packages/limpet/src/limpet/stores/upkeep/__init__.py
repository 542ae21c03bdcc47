"""Retention, and the task that applies it. For this floor; the public door is `limpet.stores`."""

from ._retention import (
    Retention,
    RetentionPolicies,
    RetentionReport,
    retain_entries,
    retain_history,
    retain_kv,
    retain_records,
    trim_log,
)
from ._sweeper import Sweeper

__all__ = [
    "Retention",
    "RetentionPolicies",
    "RetentionReport",
    "Sweeper",
    "retain_entries",
    "retain_history",
    "retain_kv",
    "retain_records",
    "trim_log",
]
