"""The fixtures for applications' tests, as an application uses them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from limpet import ConfigurationError, Persistence, sync
from limpet.records import UserMessage
from limpet.testing import FrozenClock, empty_persistence

pytest_plugins = ["limpet.testing"]


@pytest.mark.parametrize("again", [1, 2])
async def test_each_test_has_an_empty_one(limpet_persistence: Persistence, again: int) -> None:
    assert not await limpet_persistence.sessions.session_exists("s1")
    await limpet_persistence.sessions.add_message("s1", UserMessage(content="Hello!"), create=True)


def test_several_loops_share_it(limpet_persistence: Persistence, limpet_sync: sync.Persistence) -> None:
    store = limpet_persistence.kv(int, "n")
    asyncio.run(store.set("a", 1))
    assert asyncio.run(store.get("a")) == 1
    assert limpet_sync.kv(int, "n").get("a") == 1


def test_time_stands_still(limpet_sync: sync.Persistence, limpet_clock: FrozenClock) -> None:
    tokens = limpet_sync.kv(str, "tokens")
    tokens.set("t", "secret", ttl=timedelta(hours=1))
    before = limpet_clock.now
    limpet_clock.tick(3599.999)
    assert tokens.get("t") == "secret"
    limpet_clock.tick(timedelta(milliseconds=1))
    assert tokens.get("t") is None
    assert limpet_clock.now - before == timedelta(hours=1)


def test_a_database_of_somebody_else_is_left_alone(url: str) -> None:
    if "memory" in url:
        pytest.skip("nothing is there")
    with sync.create_persistence(url) as persistence:
        persistence.kv(int, "n").set("a", 1)
    with pytest.raises(ConfigurationError, match="not empty"), empty_persistence(url):
        pass
    with sync.create_persistence(url) as persistence:
        assert persistence.kv(int, "n").get("a") == 1


def test_one_is_emptied_and_used_again(url: str) -> None:
    for _ in range(2):
        with empty_persistence(url) as persistence:
            plain = sync.Persistence.of(persistence)
            assert plain.kv(int, "n").get("a") is None
            plain.kv(int, "n").set("a", 1)


def test_what_a_killed_test_left_is_emptied(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path.as_posix()}/tests.db"
    script = f"""
import asyncio, os
from limpet.testing import empty_persistence
with empty_persistence({url!r}) as persistence:
    asyncio.run(persistence.kv(int, "n").set("a", 1))
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    with empty_persistence(url) as persistence:
        assert asyncio.run(persistence.kv(int, "n").get("a")) is None


def test_time_is_not_frozen_where_a_server_tells_it(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="cannot be frozen"),
        empty_persistence(f"sqlite:///{tmp_path}/a.db", clock=FrozenClock()),
    ):
        pass


def test_workers_have_databases_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7")
    with empty_persistence(f"sqlite:///{tmp_path.as_posix()}/{{worker}}.db"):
        assert (tmp_path / "gw7.db").exists()
