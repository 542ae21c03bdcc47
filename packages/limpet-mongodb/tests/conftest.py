"""What the stand-in for MongoDB gets wrong, so that nothing is learned from these tests on it (on MongoDB all of them run),
and the sockets that pymongo forgets.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from limpet_conformance.servers import running

_HERE = Path(__file__).parent

BYTES = "it cannot replace a document by one that holds binary data"
ISOLATION = "its transactions are not isolated: two at once share one, and others read what is not committed"

WRONG = {
    "test_random_operations_agree_with_a_dict": BYTES,
    "test_a_collections_indexes_are_never_stale": ISOLATION,
    "test_a_cut_sees_every_append_before_it": ISOLATION,
    "test_a_killed_writer_loses_nothing": ISOLATION,
    "test_a_log_keeps_what_was_appended": ISOLATION,
    "test_a_number_is_never_visible_before_the_one_before": ISOLATION,
    "test_an_item_that_moves_is_always_seen_once": ISOLATION,
    "test_batches_are_seen_whole": ISOLATION,
    "test_many_callers_get_numbers_without_gaps_or_doubles": ISOLATION,
    "test_no_append_slips_through_a_cut": ISOLATION,
    "test_no_write_skew": ISOLATION,
    "test_one_holds_a_lease_at_a_time": ISOLATION,
    "test_processes_append_without_gaps_or_doubles": ISOLATION,
    "test_processes_see_batches_whole_and_without_skew": ISOLATION,
    "test_put_here_and_delete_there": ISOLATION,
    "test_random_batches_at_once_have_a_serial_order": ISOLATION,
    "test_what_an_append_checks_holds_until_it_is_done": ISOLATION,
}
"""By the name of the test."""

ALONE = {"test_random_operations_agree_with_a_dict"}
"""Those that go wrong without transactions too."""


@pytest.fixture(autouse=True)
def not_on_the_stand_in(request: pytest.FixtureRequest) -> None:
    """Skip a test of the conformance suite that asks the stand-in for what it gets wrong."""
    name = getattr(request.node, "originalname", request.node.name)
    kind = getattr(request.cls, "kind", None)
    if kind is None or name not in (WRONG if kind == "mongodb" else ALONE):
        return
    if (origin := running(kind).origin).startswith("stand-in"):
        pytest.skip(f"{origin}: {WRONG[name]}")


@pytest.fixture(autouse=True, scope="module")
def forgotten_sockets() -> Iterator[None]:
    """Close what pymongo forgot: a client that is closed while its monitor connects leaves the monitor's socket open.

    Otherwise, whenever Python collects it, the warning fails whatever test is running then, of another driver too.
    """
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
        gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))
