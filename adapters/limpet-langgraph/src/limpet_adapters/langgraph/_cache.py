"""LangGraph's cache of what nodes returned."""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any, Self, TypeVar

from limpet import CorruptDataError, OutcomeUnknownError, Persistence, TooLargeError, UnavailableError, sync
from limpet.stores import NewEntry

from langgraph.cache.base import BaseCache, FullKey, Namespace
from langgraph.checkpoint.serde.base import SerializerProtocol

from ._opened import opened, opened_sync
from ._steps import Step, Steps, awaited, called

__all__ = ["LimpetCache"]

V = TypeVar("V")

_ROOT = "langgraph.cache"
_logger = logging.getLogger("limpet")


class LimpetCache(BaseCache[V]):  # type: ignore[misc]
    """Keeps what nodes with a `CachePolicy` returned, on any database that Limpet supports, from `async` and plain code.

        graph = builder.compile(cache=LimpetCache(saver.persistence))

    If the database cannot be reached, nothing is found and nothing kept, with a warning in the log (`limpet`): a graph
    then does its work again. An entry that cannot be read is not found either.
    """

    def __init__(self, persistence: Persistence, *, serde: SerializerProtocol | None = None) -> None:
        """`persistence` comes from `open_persistence`, or from `create_persistence` for one event loop."""
        super().__init__(serde=serde)
        self.persistence = persistence

    @classmethod
    @asynccontextmanager
    async def from_url(
        cls, url: str, *, serde: SerializerProtocol | None = None, **options: Any
    ) -> AsyncIterator[Self]:
        """A cache in the database at `url`, closed at the end of the block. `options` are those of `open_persistence`."""
        async with opened(url, options) as persistence:
            yield cls(persistence, serde=serde)

    @classmethod
    @contextmanager
    def from_url_sync(cls, url: str, *, serde: SerializerProtocol | None = None, **options: Any) -> Iterator[Self]:
        """As `from_url`, for code without `await`."""
        with opened_sync(url, options) as persistence:
            yield cls(persistence, serde=serde)

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """Return what is cached of these keys."""
        return await awaited(self._get(keys), self._asynchronous)

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """As `aget`."""
        return called(self._get(keys), self._plain)

    async def aset(self, pairs: Mapping[FullKey, tuple[V, int | None]]) -> None:
        """Keep values, each for so many seconds (`None`: until it is cleared)."""
        await awaited(self._set(pairs), self._asynchronous)

    def set(self, pairs: Mapping[FullKey, tuple[V, int | None]]) -> None:
        """As `aset`."""
        called(self._set(pairs), self._plain)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Remove what is cached in these namespaces, or everything."""
        await awaited(self._clear(namespaces), self._asynchronous)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As `aclear`."""
        called(self._clear(namespaces), self._plain)

    # How.

    def _get(self, keys: Sequence[FullKey]) -> Steps[dict[FullKey, V]]:
        try:
            found = yield Step("tree", "get_entries", ([((_ROOT, *namespace), key) for namespace, key in keys],))
            return {key: self._loaded(entry.value) for key, entry in zip(keys, found, strict=True) if entry is not None}
        except UnavailableError as error:
            _logger.warning("nothing is found in the cache: %s", error)
            return {}
        except CorruptDataError as error:
            if len(keys) == 1:
                _logger.warning("a cached value cannot be read: %s", error)
                return {}
        alone: dict[FullKey, V] = {}
        for key in keys:
            alone |= yield from self._get([key])
        return alone

    def _set(self, pairs: Mapping[FullKey, tuple[V, int | None]]) -> Steps[None]:
        entries = []
        for (namespace, key), (value, ttl) in pairs.items():
            kind, data = self.serde.dumps_typed(value)
            entries.append(NewEntry((_ROOT, *namespace), key, (kind, b64encode(data).decode()), ttl))
        yield from self._write(entries)

    def _write(self, entries: Sequence[NewEntry[tuple[str, str]]]) -> Steps[None]:
        try:
            if entries:
                yield Step("tree", "write", (entries,))
        except (UnavailableError, OutcomeUnknownError) as error:
            _logger.warning("%d values are not cached: %s", len(entries), error)
        except TooLargeError as error:
            if len(entries) == 1:
                _logger.warning("a value is not cached: %s", error)
                return
            half = len(entries) // 2
            yield from self._write(entries[:half])
            yield from self._write(entries[half:])

    def _clear(self, namespaces: Sequence[Namespace] | None) -> Steps[None]:
        if namespaces is None:
            yield Step("tree", "clear", ((_ROOT,),))
        for namespace in namespaces or ():
            store = yield Step("tree", "kv", ((_ROOT, *namespace),))
            yield Step(store, "clear")

    def _loaded(self, stored: tuple[str, str]) -> V:
        kind, data = stored
        try:
            value: V = self.serde.loads_typed((kind, b64decode(data, validate=True)))
        except ValueError as error:
            raise CorruptDataError(f"a cached value is not what was stored: {error}") from error
        return value

    @cached_property
    def _asynchronous(self) -> dict[str, Any]:
        return {"tree": self.persistence.kv_tree(tuple[str, str])}

    @cached_property
    def _plain(self) -> dict[str, Any]:
        return {"tree": sync.Persistence.of(self.persistence).kv_tree(tuple[str, str])}
