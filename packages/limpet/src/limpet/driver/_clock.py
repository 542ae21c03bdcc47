"""The host's clock, for embedded drivers. No floor above the drivers asks a wall clock for a decision."""

from __future__ import annotations

from time import time_ns  # bound here, so that a test which moves the clients' clock leaves the backend's alone

__all__ = ["host_now_ms"]


def host_now_ms() -> int:
    """Milliseconds since 1970."""
    return time_ns() // 1_000_000
