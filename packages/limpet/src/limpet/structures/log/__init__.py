"""Append-only logs, their forks, and the garbage that they leave. For this floor; the public door is `limpet.structures`."""

from ._entries import Entry
from ._garbage import SWEEP, marker, sweep_all, sweep_now
from ._log import Log, LogCache, visible

__all__ = [
    "SWEEP",
    "Entry",
    "Log",
    "LogCache",
    "marker",
    "sweep_all",
    "sweep_now",
    "visible",
]
