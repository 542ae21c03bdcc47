"""What callers choose from."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["OnConflict", "What"]

OnConflict: TypeAlias = Literal["stop", "skip", "replace"]
"""What to do with a record whose id is taken by a different one."""

What: TypeAlias = Literal["all", "threads", "sessions"]
"""Everything as it is stored; threads with messages and feedback; containers, images and sessions with messages."""
