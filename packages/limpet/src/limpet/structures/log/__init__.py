"""Append-only logs, their forks, and the garbage that they leave.

Internal to this floor; import from `limpet.structures`.
"""

from ._cache import LogCache
from ._entries import Entry
from ._garbage import GARBAGE, collect_now, collect_records, garbage_record
from ._log import Log
from ._plans import visible

__all__ = [
    "GARBAGE",
    "Entry",
    "Log",
    "LogCache",
    "collect_now",
    "collect_records",
    "garbage_record",
    "visible",
]
