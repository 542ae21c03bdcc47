"""Fixtures for the tests of an application: an empty database for each test. `pytest_plugins = ["limpet.testing"]` in conftest.py.

    async def test_a_conversation(limpet_persistence): ...
    def test_a_script(limpet_sync): ...
    def test_a_token_expires(limpet_sync, limpet_clock): ...

There are no assertions for pytest to rewrite here, so this may be imported before pytest is told: PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from . import sync
from ._anywhere import open_persistence
from ._errors import ConfigurationError
from .driver import Driver, MemoryDriver, Put, Range, key, name
from .driver.kit import hide_password
from .stores import Persistence
from .wrappers import MANIFEST, Wrap

__all__ = [
    "FrozenClock",
    "empty_persistence",
    "limpet_clock",
    "limpet_persistence",
    "limpet_sync",
    "limpet_url",
]

_MARK = key(name("limpet.testing"))
"""Exists in a database while a test uses it."""


class FrozenClock:
    """The clock of an in-memory database. It stands still until the test advances it, and so does every expiry."""

    def __init__(self, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = round(at.timestamp() * 1000)

    def __call__(self) -> int:
        """Return milliseconds since 1970."""
        return self._now

    @property
    def now(self) -> datetime:
        """The current time of this clock."""
        return datetime.fromtimestamp(self._now / 1000, UTC)

    def tick(self, by: float | timedelta) -> None:
        """Advance it, by seconds or a timedelta."""
        self._now += round(1000 * (by.total_seconds() if isinstance(by, timedelta) else by))


@contextmanager
def empty_persistence(
    url: str = "memory://", *, clock: FrozenClock | None = None, wrappers: Sequence[Wrap] = ()
) -> Iterator[Persistence]:
    """Open an empty database, usable from any event loop and thread, and empty it in the end.

    `{worker}` in the URL stands for the worker of pytest-xdist. `clock` needs `memory://`: elsewhere the backend's own
    clock decides. A database in which anything else lies raises `ConfigurationError` and is left alone.
    """
    url = url.replace("{worker}", os.environ.get("PYTEST_XDIST_WORKER", "main"))
    driver: str | Driver = url
    if clock is not None:
        if not url.startswith("memory:"):
            raise ConfigurationError(
                f"time cannot be frozen on {hide_password(url)}, where the backend's clock decides: use memory://"
            )
        driver = MemoryDriver(clock=clock)
    persistence = open_persistence(driver, wrappers=wrappers)
    with sync.Persistence.of(persistence) as plain:
        _ensure_empty(plain, url)
        try:
            yield persistence
        finally:
            plain.driver.clear("")


def _ensure_empty(plain: sync.Persistence, url: str) -> None:
    driver = plain.driver
    left: Range | None = Range(limit=10, values=False)
    if driver.get([_MARK]) != [None]:
        driver.clear("")  # a test was killed before it could
        left = None
    while left is not None:  # a page can be empty before the end
        page = driver.scan(left)
        if all(item.key == MANIFEST for item in page.items):
            left = left.beyond(page)
            continue
        raise ConfigurationError(
            f"{hide_password(url)} is not empty, so a test would delete what is there: name a database for tests alone"
        )
    driver.apply([Put(_MARK, "")])


@pytest.fixture
def limpet_url() -> str:
    """The URL for tests: `LIMPET_TEST_URL`, or memory. Override it in conftest.py."""
    return os.environ.get("LIMPET_TEST_URL", "memory://")


@pytest.fixture
def limpet_clock() -> FrozenClock:
    """The clock of the test's database, which stands still. Needs `memory://`."""
    return FrozenClock()


@pytest.fixture
def limpet_persistence(limpet_url: str, request: pytest.FixtureRequest) -> Iterator[Persistence]:
    """An empty database for each test, on whatever event loop uses it."""
    clock = request.getfixturevalue("limpet_clock") if "limpet_clock" in request.fixturenames else None
    with empty_persistence(limpet_url, clock=clock) as persistence:
        yield persistence


@pytest.fixture
def limpet_sync(limpet_persistence: Persistence) -> sync.Persistence:
    """The database of `limpet_persistence` without `await`."""
    return sync.Persistence.of(limpet_persistence)
