"""Garbage collection: freeing what nothing references any more."""

from __future__ import annotations

from ..driver import Driver
from .blobs import collect_chunks
from .log import collect_records

__all__ = ["collect_garbage"]


async def collect_garbage(driver: Driver) -> int:
    """Free what nothing references, and return how many items that were. Any process can call this at any time."""
    return await collect_records(driver) + await collect_chunks(driver)
