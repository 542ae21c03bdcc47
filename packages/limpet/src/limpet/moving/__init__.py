"""Data that moves: copying a database to another driver, and comparing two."""

from ._copy import CopyReport, copy, follow
from ._kinds import kind_of
from ._progress import OnProgress, Progress
from ._verify import Comparison, KindCount, verify

__all__ = [
    "Comparison",
    "CopyReport",
    "KindCount",
    "OnProgress",
    "Progress",
    "copy",
    "follow",
    "kind_of",
    "verify",
]
