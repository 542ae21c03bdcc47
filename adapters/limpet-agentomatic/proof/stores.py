"""Puts `LimpetStore` in the place of `MemoryStore` and `SQLAlchemyStore`, for tests that make a store by one of these names.

The name of what is made stays its own, so no test passes because of a name.
"""

from __future__ import annotations

from typing import Any

import agentomatic.storage
import agentomatic.storage.memory
import agentomatic.storage.sqlalchemy
import pytest
from limpet import Persistence, open_persistence
from limpet_adapters.agentomatic import LimpetStore
from proof.places import place, wrappers

_OPEN: dict[str, Persistence] = {}


class InMemory(LimpetStore):
    """A database for each, which outlives `close`, as what is in memory does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(open_persistence(place(), wrappers=wrappers()))


class ByUrl(LimpetStore):
    """The database that stands for a URL: the same one for the same URL, unless it is in memory."""

    def __init__(self, url: str = "sqlite+aiosqlite:///data/platform.db", **options: Any) -> None:
        if ":memory:" in url or url not in _OPEN:
            _OPEN[url] = open_persistence(place(None if ":memory:" in url else url), wrappers=wrappers())
        super().__init__(_OPEN[url])


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    for module in (agentomatic.storage, agentomatic.storage.memory):
        module.MemoryStore = InMemory
    for module in (agentomatic.storage, agentomatic.storage.sqlalchemy):
        module.SQLAlchemyStore = ByUrl
