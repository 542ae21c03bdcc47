"""The drivers that everything above floor 1 is tested on: all that are installed, encrypted and not."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from limpet import Persistence, Storage, create_persistence, create_storage
from limpet.driver import Driver
from limpet.opening import driver_from_url, installed_drivers
from limpet.wrappers.encryption._ring_guard import RingGuard
from limpet_conformance.servers import running

EMBEDDED = ("memory", "sqlite", "fs")
"""Every driver, here and below, has to be installed, and is tested encrypted too: else the tests do not begin."""

SERVERS = {"postgresql": "schema", "mysql": "table", "mariadb": "table", "redis": "base", "mongodb": "collection"}
"""Every server that there is a driver for, and the option that makes a place of one's own on it."""

ENCRYPTED = tuple(f"encrypted+{scheme}" for scheme in (*EMBEDDED, *SERVERS))
_ENCRYPTING = str(Path(__file__).parent / "encrypting")
"""Where a distribution for tests lies that serves these schemes."""


def empty_place(scheme: str, folder: Path) -> str:
    """The URL of an empty place. Skips the test where it needs a server and there is none, or fails it (`running`)."""
    plain = scheme.removeprefix("encrypted+")
    if plain in SERVERS:
        at = running(plain).url.partition("://")[2]
        return f"{scheme}://{at}{'&' if '?' in at else '?'}{SERVERS[plain]}=t{uuid4().hex}"
    places = {"memory": "", "sqlite": f"/{(folder / 'agent.db').as_posix()}", "fs": (folder / "agent").as_posix()}
    return f"{scheme}://{places[plain]}"


@pytest.fixture
def _schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(_ENCRYPTING)
    monkeypatch.setenv("PYTHONPATH", _ENCRYPTING, prepend=os.pathsep)


NOT_ISOLATED = frozenset(
    {
        "test_a_job_whose_worker_is_gone_comes_back_and_his_late_word_is_refused",
        "test_a_lease_never_has_two_owners_though_a_clock_is_ten_minutes_off",
        "test_upkeep_comes_again",
        "test_another_process_is_heard",
        "test_appends_while_it_is_forked_are_all_there",
        "test_eight_processes_lose_no_increment",
        "test_forks_of_one_thread_share_what_was_there_and_are_counted",
        "test_everybody_sees_everything_in_order_though_one_is_killed",
        "test_many_tasks_append_without_gaps_or_doubles",
        "test_messages_to_one_session_have_no_gap_and_no_double",
        "test_nothing_that_a_fork_shows_is_ever_freed_while_others_fork_cut_delete_and_collect",
        "test_of_fifty_claims_from_five_processes_one_wins",
        "test_tasks_queue_up_and_lose_nothing",
        "test_truncating_beside_appends_loses_nothing_acknowledged_afterwards",
        "test_what_two_caches_change_at_once_adds_up_although_both_may_be_stale",
    }
)
"""What cannot be learned from a stand-in for MongoDB whose transactions, two at once, are one. On MongoDB these run."""


def not_on_a_stand_in(request: pytest.FixtureRequest, scheme: str) -> None:
    """Skip a test that asks the stand-in for MongoDB for what it gets wrong."""
    if not scheme.endswith("mongodb") or not (origin := running("mongodb").origin).startswith("stand-in"):
        return
    if scheme != "mongodb":
        pytest.skip(f"{origin}: it cannot replace a document by one that holds binary data")
    if getattr(request.node, "originalname", "") in NOT_ISOLATED:
        pytest.skip(f"{origin}: its transactions are not isolated")


STOOD_FOR = frozenset({"mariadb", "mongodb", *(f"encrypted+{server}" for server in SERVERS if server != "postgresql")})
"""Where others stand for it: MySQL's driver on its other server, the same encryption on another server, and MongoDB, of whose
stand-in the driver's own suite shows what there is to see."""


def _marks(scheme: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.again, *([pytest.mark.exhaustive] if scheme in STOOD_FOR else [])]


PLACES = [*EMBEDDED, *(pytest.param(scheme, marks=_marks(scheme)) for scheme in (*SERVERS, *ENCRYPTED))]


@pytest.fixture(params=PLACES)
def url(request: pytest.FixtureRequest, tmp_path: Path, _schemes: None) -> str:
    not_on_a_stand_in(request, request.param)
    return empty_place(request.param, tmp_path)


@pytest.fixture(
    params=[place for place in PLACES if place != "memory" and "encrypted+memory" not in getattr(place, "values", ())]
)
def lasting_url(request: pytest.FixtureRequest, tmp_path: Path, _schemes: None) -> str:
    """A place that outlives the process."""
    not_on_a_stand_in(request, request.param)
    return empty_place(request.param, tmp_path)


@pytest.fixture
def proofs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the read with which an encrypted place proves each write: `tests/counts` counts these by themselves."""

    async def covers(self: RingGuard, ring: object) -> str:
        return "covers"

    monkeypatch.setattr(RingGuard, "standing", covers)


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
        missing = {*EMBEDDED, *SERVERS, *ENCRYPTED} - set(installed_drivers())
    if missing:
        raise pytest.UsageError(
            f"these drivers are not installed, so nothing would be tested on them: {sorted(missing)}"
        )
