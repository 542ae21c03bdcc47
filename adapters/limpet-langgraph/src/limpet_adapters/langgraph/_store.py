"""LangGraph's long-term memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any, Self

from limpet import Persistence, sync

from langgraph.store.base import BaseStore, IndexConfig, Op, Result, TTLConfig

from ._batch import StoredItem, batch_steps
from ._opened import opened, opened_sync
from ._steps import Steps, awaited, called
from ._vectors import VectorIndex

__all__ = ["LimpetStore"]

_SWEEP_MINUTES = 5.0


class LimpetStore(BaseStore):  # type: ignore[misc]
    """Stores what agents remember across threads, on any database that Limpet supports, from `async` and plain code.

        async with LimpetStore.from_url("postgresql://host/agents") as store: ...
        with LimpetStore.from_url_sync("sqlite:///agents.db") as store: ...
        store = LimpetStore(saver.persistence)                          # which is never closed here

    A batch is written completely or not at all, if the driver takes that much in one batch. Its reads see nothing of its
    writes, and the last put of a key counts. Items that have expired are never returned, whether or not they were swept.
    """

    supports_ttl = True

    def __init__(
        self, persistence: Persistence, *, index: IndexConfig | None = None, ttl: TTLConfig | None = None
    ) -> None:
        """`persistence` comes from `open_persistence`, or from `create_persistence` for one event loop.

        With `index`, items are embedded when they are put, and `query=` finds the most similar ones: each search
        compares the query with every item below its namespace, here, without an index in the database.
        """
        self.persistence = persistence
        self.index_config = index
        self.ttl_config = ttl
        self._index = None if index is None else VectorIndex(index)
        self.embeddings = None if self._index is None else self._index.embeddings
        self._sweeper: sync.Upkeep | None = None

    @classmethod
    @asynccontextmanager
    async def from_url(
        cls, url: str, *, index: IndexConfig | None = None, ttl: TTLConfig | None = None, **options: Any
    ) -> AsyncIterator[Self]:
        """A store on the database at `url`, closed at the end of the block. `options` are those of `open_persistence`."""
        async with opened(url, options) as persistence:
            store = cls(persistence, index=index, ttl=ttl)
            try:
                yield store
            finally:
                store.stop_ttl_sweeper()

    @classmethod
    @contextmanager
    def from_url_sync(
        cls, url: str, *, index: IndexConfig | None = None, ttl: TTLConfig | None = None, **options: Any
    ) -> Iterator[Self]:
        """As `from_url`, for code without `await`."""
        with opened_sync(url, options) as persistence:
            store = cls(persistence, index=index, ttl=ttl)
            try:
                yield store
            finally:
                store.stop_ttl_sweeper()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations; return their results in order."""
        return await awaited(self._steps(ops), self._asynchronous)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """As `abatch`."""
        return called(self._steps(ops), self._plain)

    # Expiry.

    async def asweep_ttl(self) -> int:
        """Free the space of what has expired in the database; return how many items that were, if the backend says."""
        return await self.persistence.purge()

    def sweep_ttl(self) -> int:
        """As `asweep_ttl`."""
        return sync.Persistence.of(self.persistence).purge()

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> None:
        """Sweep at intervals, in the background, until `stop_ttl_sweeper`: see `persistence.upkeep`.

        `persistence` must come from `open_persistence`, as with `from_url`. The interval is that of the `TTLConfig` unless
        it is given, else 5 minutes.
        """
        if self._sweeper is None:
            minutes = sweep_interval_minutes or (self.ttl_config or {}).get("sweep_interval_minutes") or _SWEEP_MINUTES
            sweeper = sync.Persistence.of(self.persistence).upkeep(every=timedelta(minutes=minutes))
            self._sweeper = sweeper.__enter__()

    def stop_ttl_sweeper(self) -> bool:
        """Stop sweeping; return whether it was running."""
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.__exit__(None, None, None)
        return sweeper is not None

    def _steps(self, ops: Iterable[Op]) -> Steps[list[Result]]:
        return batch_steps(list(ops), self._index, is_ordered=self.persistence.driver.capabilities.text_order)

    @cached_property
    def _asynchronous(self) -> dict[str, Any]:
        return {"tree": self.persistence.kv_tree(StoredItem), "embeddings": _Awaited(self.embeddings)}

    @cached_property
    def _plain(self) -> dict[str, Any]:
        tree = sync.Persistence.of(self.persistence).kv_tree(StoredItem)
        return {"tree": tree, "embeddings": self.embeddings}


class _Awaited:
    """Embeddings whose methods are awaited under the names of the plain ones."""

    def __init__(self, embeddings: Any) -> None:
        if embeddings is not None:
            self.embed_query = embeddings.aembed_query
            self.embed_documents = embeddings.aembed_documents
