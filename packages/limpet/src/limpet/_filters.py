"""The value that means no filter: `None` is a user who is not signed in, and not everybody."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

__all__ = ["ALL", "All"]


class _All(Enum):
    ALL = "all"

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = _All.ALL
"""As a filter: everything matches. It is the default, so it is rarely written."""

All: TypeAlias = Literal[_All.ALL]
