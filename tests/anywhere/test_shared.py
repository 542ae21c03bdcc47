"""`SharedPersistence`: one open database for everything in a process that names its URL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from limpet import ClosedError, ConfigurationError, DriverNotFoundError, Persistence, SharedPersistence, sync


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder.as_posix()}/a.db"


def count(share: SharedPersistence) -> int:
    return asyncio.run(share.persistence.sessions.count_messages("s1"))


def test_shares_of_a_url_are_one_database_until_the_last_is_closed(tmp_path: Path) -> None:
    one, two = SharedPersistence(url_of(tmp_path)), SharedPersistence(url_of(tmp_path))
    assert one.persistence is two.persistence
    assert SharedPersistence(f"sqlite:///{tmp_path.as_posix()}/b.db").persistence is not one.persistence
    blocking = sync.Persistence.of(one.persistence)
    blocking.sessions.add_message("s1", {"role": "user", "subtype": "user", "content": "x"}, create=True)
    one.close()
    one.close()
    assert (one.is_closed, two.is_closed, count(two)) == (True, False, 1)
    with two:
        pass
    with pytest.raises(ClosedError):
        count(two)
    with SharedPersistence(url_of(tmp_path)) as again:
        assert count(again) == 1


def test_a_share_is_closed_from_any_loop(tmp_path: Path) -> None:
    async def use() -> None:
        async with SharedPersistence(url_of(tmp_path)) as share:
            await share.persistence.kv(int, "numbers").set("a", 1)
        assert share.is_closed

    asyncio.run(use())
    asyncio.run(use())


def test_memory_is_not_shared() -> None:
    with SharedPersistence("memory://") as one, SharedPersistence("memory://") as two:
        assert one.persistence is not two.persistence
        sync.Persistence.of(one.persistence).kv(int, "numbers").set("a", 1)
        assert sync.Persistence.of(two.persistence).kv(int, "numbers").get("a") is None


def test_many_threads_open_and_close(tmp_path: Path) -> None:
    seen: set[Persistence] = set()

    def use() -> None:
        for turn in range(20):
            with SharedPersistence(url_of(tmp_path)) as share:
                seen.add(share.persistence)
                sync.Persistence.of(share.persistence).kv(int, "numbers").set(str(turn), turn)

    threads = [threading.Thread(target=use) for _ in range(4)]
    with SharedPersistence(url_of(tmp_path)) as kept:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == {kept.persistence}


def test_what_the_environment_names_is_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMPET_URL", url_of(tmp_path))
    with SharedPersistence(None) as one, SharedPersistence(None) as two:
        assert one.persistence is two.persistence
        assert asyncio.run(one.persistence.kv(int, "numbers").get("a")) is None
    assert (tmp_path / "a.db").exists()


@pytest.mark.parametrize(("url", "error"), [("nothing://x", DriverNotFoundError), (7, ConfigurationError)])
def test_a_url_that_nothing_opens_is_not_kept(url: Any, error: type[Exception]) -> None:
    for _ in range(2):
        with pytest.raises(error):
            SharedPersistence(url)


def test_a_forked_child_has_its_own(tmp_path: Path) -> None:
    script = """
import os, sys
from limpet import SharedPersistence, sync
parent = SharedPersistence(sys.argv[1])
sync.Persistence.of(parent.persistence).kv(int, "n").set("a", 1)
if (child := os.fork()) == 0:
    share = SharedPersistence(sys.argv[1])
    print(share.persistence is parent.persistence, sync.Persistence.of(share.persistence).kv(int, "n").get("a"), flush=True)
    share.close()
    parent.close()
    os._exit(0)
os.waitpid(child, 0)
print(sync.Persistence.of(parent.persistence).kv(int, "n").get("a"))
parent.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, url_of(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("False 1\n1\n", 0), done.stderr
