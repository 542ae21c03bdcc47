"""The stores' tests once more through each face: as every loop sees a database that lives on a loop of its own, and as plain code does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from limpet import Persistence, Storage, create_persistence, create_storage, open_persistence, open_storage

LOOKS_INSIDE = frozenset(
    {
        "test_a_deletion_that_stopped_in_the_middle_is_ended",
        "test_a_long_session_with_a_gap_keeps_its_last_messages",
        "test_a_taken_id_changes_nothing",
        "test_content_that_ends_early_is_an_error_and_not_the_end",
        "test_long_conversations_are_swept_by_purge",
        "test_many_put_and_delete_the_same_at_once",
        "test_the_same_content_is_stored_once_however_it_came",
        "test_what_died_half_way_is_freed_in_time_and_nothing_else_is",
        "test_who_was_stopped_for_long_still_saves_where_nobody_else_came",
    }
)
"""What replaces or reads a private part of a store, which a face does not have."""

FACES = ["itself", pytest.param("anywhere", marks=pytest.mark.again)]


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    if request.param != "itself" and getattr(request.node, "originalname", "") in LOOKS_INSIDE:
        pytest.skip("looks inside the store")
    return str(request.param)


@pytest.fixture
async def persistence(url: str, face: str) -> AsyncIterator[Persistence]:
    async with create_persistence(url) if face == "itself" else open_persistence(url) as persistence:
        yield persistence


@pytest.fixture
async def storage(url: str, face: str) -> AsyncIterator[Storage]:
    async with create_storage(url) if face == "itself" else open_storage(url) as storage:
        yield storage
