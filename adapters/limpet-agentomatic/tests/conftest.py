from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest
from limpet import Persistence

if TYPE_CHECKING:
    from proof.databases import Database

pytest_plugins = ["proof.databases"]


@pytest.fixture
async def reopened(database: Database) -> AsyncIterator[Callable[[], Persistence]]:
    """Opens the same database once more; in memory, it is the one that is open."""
    opened: list[Persistence] = []

    def once_more() -> Persistence:
        if not opened or database.is_kept:
            opened.append(database.open())
        return opened[-1]

    yield once_more
    for each in opened:
        await each.aclose()


@pytest.fixture
def persistence(reopened: Callable[[], Persistence]) -> Persistence:
    return reopened()
