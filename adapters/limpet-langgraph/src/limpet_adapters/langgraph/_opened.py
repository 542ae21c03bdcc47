"""A database at a URL, open for the time of a block, with `await` and without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from limpet import Persistence, open_persistence, sync

__all__ = ["opened", "opened_sync"]


@asynccontextmanager
async def opened(url: str, options: Mapping[str, Any]) -> AsyncIterator[Persistence]:
    """The stores at `url`, for any event loop. `options` are those of `open_persistence`."""
    async with open_persistence(url, **options) as persistence:
        yield persistence


@contextmanager
def opened_sync(url: str, options: Mapping[str, Any]) -> Iterator[Persistence]:
    """As `opened`, for code without `await`."""
    persistence = open_persistence(url, **options)
    try:
        yield persistence
    finally:
        sync.Persistence.of(persistence).close()
