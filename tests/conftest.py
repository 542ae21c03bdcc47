"""The drivers that everything above floor 1 is tested on: all that are installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from holdfast import Persistence, Storage, create_persistence, create_storage
from holdfast.driver import Driver
from holdfast.opening import driver_from_url, installed_drivers

EMBEDDED = ("memory", "sqlite", "fs")
"""Every one of them has to be there: a test about the tests fails where one is missing."""


def empty_place(scheme: str, folder: Path) -> str:
    """The URL of an empty place of an embedded driver."""
    if scheme == "sqlite":
        return f"sqlite:///{(folder / 'agent.db').as_posix()}"
    if scheme == "fs":
        return f"fs://{(folder / 'agent').as_posix()}"
    return "memory://"


@pytest.fixture(params=EMBEDDED)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return empty_place(request.param, tmp_path)


@pytest.fixture(params=[scheme for scheme in EMBEDDED if scheme != "memory"])
def lasting_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that outlives the process."""
    return empty_place(request.param, tmp_path)


@pytest.fixture
async def driver(url: str) -> AsyncIterator[Driver]:
    async with driver_from_url(url) as driver:
        yield driver


@pytest.fixture
async def persistence(url: str) -> AsyncIterator[Persistence]:
    async with create_persistence(url) as persistence:
        yield persistence


@pytest.fixture
async def storage(url: str) -> AsyncIterator[Storage]:
    async with create_storage(url) as storage:
        yield storage


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    missing = set(EMBEDDED) - set(installed_drivers())
    if missing:
        raise pytest.UsageError(
            f"these drivers are not installed, so nothing would be tested on them: {sorted(missing)}"
        )
