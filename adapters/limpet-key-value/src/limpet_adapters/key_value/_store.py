"""The store of py-key-value."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, SupportsFloat

from limpet import Persistence, TooLargeError, open_persistence
from limpet.stores import KeyValueStore

from key_value.aio.errors import InvalidTTLError

from ._errors import translated

__all__ = ["LimpetKeyValue"]

_LONGEST_TTL = 1e11
"""Seconds: what Limpet takes is below."""


class LimpetKeyValue:
    """Dictionaries by collection and key on any database that Limpet supports, for py-key-value and FastMCP.

        storage = LimpetKeyValue(open_persistence("postgresql://host/agents"))

    A value comes back as it was put, or is refused: `SerializationError` for what JSON cannot hold. Collections and keys are
    any text of at most 8,192 characters. Expiry is by the database's clock. Works on any event loop. Has all of py-key-value's
    protocols: it lists keys and collections, culls, and destroys collections and itself.
    """

    def __init__(
        self,
        persistence: Persistence,
        *,
        namespace: str = "py-key-value",
        default_collection: str = "default_collection",
    ) -> None:
        """`persistence` comes from `open_persistence`, or from `create_persistence` for one event loop; it is never closed here.

        Stores of different `namespace` do not see each other's collections. `default_collection` is where calls without a
        collection go.
        """
        self._persistence = persistence
        self._tree = persistence.kv_tree(dict[str, Any])
        self._root = namespace
        self._collection = default_collection
        self._kv(None)  # raises for names that cannot be used

    @classmethod
    @asynccontextmanager
    async def from_url(
        cls,
        url: str,
        *,
        namespace: str = "py-key-value",
        default_collection: str = "default_collection",
        **options: Any,
    ) -> AsyncIterator[Self]:
        """A store on the database at `url`, closed at the end of the block. `options` are those of `open_persistence`."""
        async with open_persistence(url, **options) as persistence:
            yield cls(persistence, namespace=namespace, default_collection=default_collection)

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        """The value, or `None`."""
        with translated():
            return await self._kv(collection).get(key)

    async def ttl(self, key: str, *, collection: str | None = None) -> tuple[dict[str, Any] | None, float | None]:
        """The value, and the seconds until it expires (`None`: never); `(None, None)` if there is no value."""
        return (await self.ttl_many([key], collection=collection))[0]

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: SupportsFloat | None = None
    ) -> None:
        """Store a value, new or not, for `ttl` seconds or for good."""
        await self.put_many([key], [value], collection=collection, ttl=ttl)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Remove a value; return whether there was one."""
        with translated():
            return await self._kv(collection).delete(key)

    async def get_many(self, keys: Sequence[str], *, collection: str | None = None) -> list[dict[str, Any] | None]:
        """The value or `None` for each key, in order, in one driver call."""
        with translated():
            found = await self._kv(collection).get_many(keys)
        return [found[key] for key in keys]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[dict[str, Any] | None, float | None]]:
        """As `ttl` for each key, in order, in one driver call."""
        with translated():
            found = await self._kv(collection).get_entries(keys)
        entries = [found[key] for key in keys]
        return [(None, None) if entry is None else (entry.value, entry.ttl) for entry in entries]

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Mapping[str, Any]],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> None:
        """Store values, all or none; more than the driver takes at once, in several steps. Of equal keys, the last counts.

        Raises `ValueError` for another number of values than of keys.
        """
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys and {len(values)} values: pass one value for each key")
        seconds = _seconds(ttl)
        with translated():
            await _set(
                self._kv(collection), {key: dict(value) for key, value in zip(keys, values, strict=True)}, seconds
            )

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """Remove values, one by one but in few driver calls; return how many there were."""
        with translated():
            kv = self._kv(collection)
            return sum(await asyncio.gather(*(kv.delete(key) for key in dict.fromkeys(keys))))

    async def keys(self, collection: str | None = None, *, limit: int | None = None) -> list[str]:
        """The keys of a collection in order, all of them without a `limit`."""
        if limit is not None and limit < 1:
            return []
        with translated():
            return list(await self._kv(collection).keys(limit=limit))

    async def collections(self, *, limit: int | None = None) -> list[str]:
        """The collections that have values, in order, all of them without a `limit`."""
        if limit is not None and limit < 1:
            return []
        with translated():
            found = await self._tree.namespaces((self._root,), limit=limit)
        return [labels[1] for labels in found]

    async def destroy_collection(self, collection: str) -> bool:
        """Remove all values of a collection; return whether there were any. Not atomic, safe to repeat."""
        with translated():
            return await self._kv(collection).clear() > 0

    async def destroy(self) -> bool:
        """Remove all collections; return `True`. Not atomic, safe to repeat."""
        with translated():
            await self._tree.clear((self._root,))
        return True

    async def cull(self) -> None:
        """Free the space of what has expired, in all of the database. Nobody sees it in any case."""
        with translated():
            await self._persistence.purge()

    def _kv(self, collection: str | None) -> KeyValueStore[dict[str, Any]]:
        return self._tree.kv((self._root, collection or self._collection))


async def _set(kv: KeyValueStore[dict[str, Any]], values: dict[str, dict[str, Any]], ttl: float | None) -> None:
    try:
        await kv.set_many(values, ttl=ttl)
    except TooLargeError:
        if len(values) < 2:
            raise
        items = list(values.items())
        half = len(items) // 2
        await _set(kv, dict(items[:half]), ttl)
        await _set(kv, dict(items[half:]), ttl)


def _seconds(ttl: SupportsFloat | None) -> float | None:
    if ttl is None:
        return None
    if isinstance(ttl, bool) or not isinstance(ttl, SupportsFloat):
        raise InvalidTTLError(ttl=ttl, extra_info={"type": type(ttl).__name__})
    seconds = float(ttl)
    if math.isnan(seconds) or not 0 < seconds < _LONGEST_TTL:
        raise InvalidTTLError(ttl=ttl)
    return seconds
