"""What the channels that store only their changes (`DeltaChannel`) need of earlier checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limpet.records import CheckpointRecord

from langgraph.checkpoint.base import DeltaChannelHistory

from ._values import Values

__all__ = ["History", "Needed"]

_COUNTERS = "counters_since_delta_snapshot"
"""In the metadata of a checkpoint whose thread has such channels: each of them by name."""


class History:
    """Collects what was written to channels, from a checkpoint's parent back to where each was stored whole."""

    def __init__(self, channels: Sequence[str], values: Values) -> None:
        self._values = values
        self._channels = channels
        self._open = set(channels)
        self._writes: dict[str, list[tuple[str, str, Any]]] = {name: [] for name in channels}
        self._seeds: dict[str, Any] = {}
        self._is_first = True

    def add(self, record: CheckpointRecord) -> bool:
        """The next one on the way back; return whether nothing more is needed. Of the first only the parents count."""
        if self._is_first:
            self._is_first = False
            return not self._open
        for write in reversed(record.writes):
            if write.channel in self._open:
                told = (write.task_id, write.channel, self._values.decode(write.value))
                self._writes[write.channel].append(told)
        for name in self._open & record.channels.keys():
            self._seeds[name] = self._values.decode(record.channels[name])
        self._open -= record.channels.keys()
        return not self._open

    def result(self) -> Mapping[str, DeltaChannelHistory]:
        """The writes of each channel, oldest first, and the value that they begin from, if there is one."""
        found: dict[str, DeltaChannelHistory] = {}
        for name in self._channels:
            found[name] = {"writes": self._writes[name][::-1]}
            if name in self._seeds:
                found[name]["seed"] = self._seeds[name]
        return found


class Needed:
    """Collects the ancestors of a namespace's latest checkpoint that its channels need."""

    def __init__(self, kept: set[tuple[str, str]]) -> None:
        """Namespaces and ids are put into `kept`."""
        self._kept = kept
        self._missing: set[str] | None = None

    def add(self, record: CheckpointRecord) -> bool:
        """The latest, then its parent, and so on; return whether nothing more is needed."""
        if self._missing is None:
            self._missing = set(record.metadata.get(_COUNTERS) or {})
        else:
            self._kept.add((record.namespace, record.id))
        self._missing -= record.channels.keys()
        return not self._missing
