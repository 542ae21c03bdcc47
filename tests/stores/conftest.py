"""The stores' tests once more through each face: as every loop sees a database that lives on a loop of its own, and as plain code does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from limpet import Persistence, Storage, create_persistence, create_storage, open_persistence, open_storage, sync

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.stores.asynchronous import asynchronous

LOOKS_INSIDE = frozenset(
    {
        "test_a_deletion_that_stopped_in_the_middle_is_ended",
        "test_a_long_session_with_a_gap_keeps_its_last_messages",
        "test_a_taken_id_changes_nothing",
        "test_content_that_ends_early_is_an_error_and_not_the_end",
        "test_long_conversations_are_swept_by_purge",
        "test_many_put_and_delete_the_same_at_once",
        "test_the_same_content_is_stored_once_however_it_came",
        "test_update_takes_the_new_value_itself",
        "test_what_died_half_way_is_freed_in_time_and_nothing_else_is",
        "test_who_was_stopped_for_long_still_saves_where_nobody_else_came",
    }
)
"""What replaces or reads a private part of a store, which a face does not have."""

NEEDS_TASKS = frozenset(
    {
        "test_a_watch_that_raises_breaks_nobody_else",
        "test_cancelled_while_waiting_for_its_turn",
        "test_missing_gives_none_or_nothing",
        "test_tasks_on_one_object_come_in_their_order",
        "test_what_was_taken_is_given_back_at_once",
    }
)
"""What cancels a call, waits in the order of tasks, hears of errors by the event loop, or is told to `await`."""

ONCE_MORE = frozenset({"memory", "sqlite", "fs", "postgresql", "mysql", "redis", "encrypted+sqlite"})
"""Where the faces are tested: what lies behind them on the other drivers has tests of its own."""

FACES = ["itself", *(pytest.param(face, marks=pytest.mark.again) for face in ("anywhere", "synchronous"))]


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    test = getattr(request.node, "originalname", "")
    if request.param != "itself" and test in LOOKS_INSIDE:
        pytest.skip("looks inside the store")
    if request.param == "synchronous" and test in NEEDS_TASKS:
        pytest.skip("needs tasks of an event loop")
    return str(request.param)


STANDS_FOR_OTHERS = frozenset({"memory", "sqlite", "redis"})
"""Where a face is tested every time: one of each kind."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    kept = []
    for item in items:
        url = _url_behind_a_face(item)
        if url is not None and url not in STANDS_FOR_OTHERS:
            item.add_marker(pytest.mark.exhaustive)
        if url is None or url in ONCE_MORE:
            kept.append(item)
    items[:] = kept


def _url_behind_a_face(item: pytest.Item) -> str | None:
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return None if params.get("face", "itself") == "itself" else str(params.get("url", "memory"))


@pytest.fixture
async def persistence(url: str, face: str) -> AsyncIterator[Persistence]:
    if face == "itself":
        async with create_persistence(url) as persistence:
            yield persistence
    elif face == "anywhere":
        async with open_persistence(url) as persistence:
            yield persistence
    else:
        with await asyncio.to_thread(sync.create_persistence, url) as opened:
            yield asynchronous(opened)


@pytest.fixture
async def storage(url: str, face: str) -> AsyncIterator[Storage]:
    if face == "itself":
        async with create_storage(url) as storage:
            yield storage
    elif face == "anywhere":
        async with open_storage(url) as storage:
            yield storage
    else:
        with await asyncio.to_thread(sync.create_storage, url) as opened:
            yield asynchronous(opened)
