"""Puts `LimpetSaver` in the place of the SQLite savers, for LangGraph's tests of its engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module

import pytest
from limpet_adapters.langgraph import LimpetSaver
from proof.places import place, wrappers


@asynccontextmanager
async def _asynchronous() -> AsyncIterator[LimpetSaver]:
    async with LimpetSaver.from_url(place(), wrappers=wrappers()) as saver:
        yield saver


@contextmanager
def _synchronous() -> Iterator[LimpetSaver]:
    with LimpetSaver.from_url_sync(place(), wrappers=wrappers()) as saver:
        yield saver


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems() -> None:
    """Their fixtures look these names up in their module when they are used."""
    theirs = import_module("tests.conftest")
    theirs.__dict__.update(_checkpointer_sqlite_aio=_asynchronous, _checkpointer_sqlite=_synchronous)
