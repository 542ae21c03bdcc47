"""The drivers that everything above floor 1 is tested on: all that are installed, encrypted and not."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from holdfast import Persistence, Storage, create_persistence, create_storage
from holdfast.driver import Driver
from holdfast.opening import driver_from_url, installed_drivers

EMBEDDED = ("memory", "sqlite", "fs")
"""Every one of them has to be there, and be tested encrypted too: the tests do not begin where one is missing."""

ENCRYPTED = tuple(f"encrypted+{scheme}" for scheme in EMBEDDED)
_ENCRYPTING = str(Path(__file__).parent / "encrypting")
"""Where a distribution for tests lies that serves these schemes."""


def empty_place(scheme: str, folder: Path) -> str:
    """The URL of an empty place of an embedded driver."""
    places = {"memory": "", "sqlite": f"/{(folder / 'agent.db').as_posix()}", "fs": (folder / "agent").as_posix()}
    return f"{scheme}://{places[scheme.removeprefix('encrypted+')]}"


@pytest.fixture
def _schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(_ENCRYPTING)
    monkeypatch.setenv("PYTHONPATH", _ENCRYPTING, prepend=os.pathsep)


@pytest.fixture(params=[*EMBEDDED, *ENCRYPTED])
def url(request: pytest.FixtureRequest, tmp_path: Path, _schemes: None) -> str:
    return empty_place(request.param, tmp_path)


@pytest.fixture(params=[scheme for scheme in (*EMBEDDED, *ENCRYPTED) if not scheme.endswith("memory")])
def lasting_url(request: pytest.FixtureRequest, tmp_path: Path, _schemes: None) -> str:
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
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_ENCRYPTING)
        missing = {*EMBEDDED, *ENCRYPTED} - set(installed_drivers())
    if missing:
        raise pytest.UsageError(
            f"these drivers are not installed, so nothing would be tested on them: {sorted(missing)}"
        )
