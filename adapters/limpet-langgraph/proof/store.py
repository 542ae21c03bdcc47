"""Puts `LimpetStore` in the place of LangGraph's stores, for its tests of the SQLite and the in-memory store."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from limpet import open_persistence, sync
from limpet_adapters.langgraph import LimpetStore
from proof.places import place, wrappers

_OPENED: list[Any] = []


def _options(index: Any, ttl: Any) -> dict[str, Any]:
    """Their tests of SQLite name the fields as only that store did, and expect no renewal unless it is asked for."""
    if index is not None and "text_fields" in index:
        index = {**index, "fields": index["text_fields"]}
    if ttl is not None:
        ttl = {"refresh_on_read": False, **ttl}
    return {"index": index, "ttl": ttl, "wrappers": wrappers()}


class _Synchronous(LimpetStore):
    @classmethod
    @contextmanager
    def from_conn_string(cls, _conn_string: str, *, index: Any = None, ttl: Any = None) -> Iterator[LimpetStore]:
        with cls.from_url_sync(place(), **_options(index, ttl)) as store:
            yield store

    def setup(self) -> None:
        """There is nothing to set up."""


class _Asynchronous(LimpetStore):
    """Which has the names of the asynchronous store: `await store.sweep_ttl()`."""

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls, _conn_string: str, *, index: Any = None, ttl: Any = None
    ) -> AsyncIterator[LimpetStore]:
        async with cls.from_url(place(), **_options(index, ttl)) as store:
            yield store

    async def setup(self) -> None:
        """There is nothing to set up."""

    async def sweep_ttl(self) -> int:  # type: ignore[override]
        return await self.asweep_ttl()

    async def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> None:  # type: ignore[override]
        super().start_ttl_sweeper(sweep_interval_minutes)

    async def stop_ttl_sweeper(self) -> bool:  # type: ignore[override]
        return super().stop_ttl_sweeper()


class _Memory(LimpetStore):
    """Which is created without a database, as `InMemoryStore` is."""

    def __init__(self, *, index: Any = None) -> None:
        options = _options(index, None)
        persistence = open_persistence(place(), wrappers=options.pop("wrappers"))
        _OPENED.append(persistence)
        super().__init__(persistence, **options)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "flaky: they would try these tests again; here they have to pass at once")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems() -> None:
    """Their tests look these names up in their modules when they run."""
    ours = {"SqliteStore": _Synchronous, "AsyncSqliteStore": _Asynchronous, "InMemoryStore": _Memory}
    for module in ("tests.test_store", "tests.test_async_store", "tests.test_ttl"):
        if module in sys.modules:
            theirs = vars(sys.modules[module])
            theirs.update({name: each for name, each in ours.items() if name in theirs})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    yield
    while _OPENED:
        sync.Persistence.of(_OPENED.pop()).close()
