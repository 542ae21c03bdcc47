"""Open the plain items of a database, for a command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..opening import open_as_written
from ..stores import Storage

__all__ = ["storage_at"]


@asynccontextmanager
async def storage_at(url: str, *, new: bool = False) -> AsyncIterator[Storage]:
    """Open the plain items of a database, and close it at the end."""
    async with Storage(await open_as_written(url, new=new)) as storage:
        yield storage
