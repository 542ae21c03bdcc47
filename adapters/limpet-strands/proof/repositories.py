"""Puts `LimpetSessionRepository` in the place of the repository of the SDK's tests of its session manager."""

from __future__ import annotations

from importlib import import_module

import pytest
from limpet import open_persistence
from limpet_adapters.strands import LimpetSessionRepository
from proof.places import place, wrappers


class Repository(LimpetSessionRepository):
    """An empty one."""

    def __init__(self) -> None:
        super().__init__(open_persistence(place(), wrappers=wrappers()))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems() -> None:
    """The tests look this name up in their module when they run."""
    import_module("tests.strands.session.test_repository_session_manager").__dict__.update(
        MockedSessionRepository=Repository
    )
