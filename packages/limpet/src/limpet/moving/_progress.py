"""How far a long operation has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["OnProgress", "Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long operation has come. Counters only grow within a phase."""

    phase: str
    """What is being done: `copying`, `comparing`, `following`."""
    items: int = 0
    """Items examined in this phase."""
    bytes: int = 0
    """Bytes of values written in this phase."""
    behind: int | None = None
    """While following: how many items differed in the last look at the source."""


OnProgress: TypeAlias = Callable[[Progress], None] | None
