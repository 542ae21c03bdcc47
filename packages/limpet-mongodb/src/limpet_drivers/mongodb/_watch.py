"""Watching through the server's change streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pymongo
from limpet.driver.kit import Subscription
from pymongo import AsyncMongoClient
from pymongo.read_concern import ReadConcern

from ._client import Client, done
from ._errors import CLIENT_ERRORS

__all__ = ["watching"]

# As a stage, not with `watch`, which silently restarts if a connection ends: watchers have to know.
_CHANGES = [
    {"$changeStream": {}},
    {"$project": {"operationType": 1, "documentKey": 1, "updateDescription.updatedFields.etag": 1}},
]
_AWAIT_MS = 1000


@asynccontextmanager
async def watching(client: Client, subscription: Subscription) -> AsyncIterator[None]:
    """Push every change of an item, once live, until the stream ends."""
    opening = asyncio.create_task(_opened(client))
    try:
        changes = await asyncio.shield(opening)
    except asyncio.CancelledError:
        # A separate task, because pymongo loses a cancellation here, and this one would listen for ever.
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            await opening.result().close()
        raise

    async def hear() -> None:
        async for change in changes:
            keys = _keys(change)
            if keys is not None:
                subscription.push(keys)

    try:
        async with client.listening(subscription, hear):
            yield
    finally:
        with suppress(*CLIENT_ERRORS):
            await changes.close()


async def _opened(client: Client) -> Any:
    with pymongo.timeout(client.options.connect_timeout):
        items = client.at.items.with_options(read_concern=ReadConcern("majority"))
        changes = await done(items.aggregate(_CHANGES, maxAwaitTimeMS=_AWAIT_MS))
        if not isinstance(client.at.client, AsyncMongoClient):
            await changes.to_list(0)  # Motor only contacts the server now
    return changes


def _keys(change: Mapping[str, Any]) -> str | None:
    """Return the key that changed, an empty string for all keys, `None` for a document that was only checked."""
    updated = (change.get("updateDescription") or {}).get("updatedFields")
    if updated is not None and "etag" not in updated:
        return None
    key = (change.get("documentKey") or {}).get("_id")
    return key if isinstance(key, str) else ""
