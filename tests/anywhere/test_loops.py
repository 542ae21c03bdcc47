"""Other event loops than asyncio's, and what calls plain code from them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from limpet import ClosedError, CorruptDataError, Persistence, open_persistence, sync
from limpet.records import UserMessage


async def use(persistence: Persistence, n: int = 0) -> int:
    await persistence.sessions.add_message("s1", UserMessage(content=f"m{n}"), create=True)
    return len([message async for message in persistence.sessions.get_messages("s1")])


def test_uvloop_on_both_sides(tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    script = f"""
import asyncio, uvloop, threading
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
from limpet import open_persistence, sync
persistence = open_persistence("sqlite:///{tmp_path.as_posix()}/a.db")
async def main():
    assert type(asyncio.get_running_loop()).__module__ == "uvloop"
    await persistence.kv(int, "n").set("a", 1)
    try:
        async with asyncio.timeout(0.1):
            await persistence.work("jobs").claim(wait=60)
    except TimeoutError:
        return await persistence.kv(int, "n").get("a")
assert asyncio.run(main()) == asyncio.run(main()) == 1
assert type(persistence._portal._loop.loop).__module__ == "uvloop"
plain = sync.Persistence.of(persistence)
threads = [threading.Thread(target=plain.kv(int, "n").set, args=(str(n), n)) for n in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(list(plain.kv(int, "n").keys())) == 21
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_plain_code_inside_of_a_running_loop_as_in_a_notebook() -> None:
    with sync.create_persistence("memory://") as persistence:
        persistence.sessions.add_message("s1", UserMessage(content="Hello!"), create=True)
        assert [message.seq for message in persistence.sessions.get_messages("s1", last=50)] == [0]
        with persistence.state(dict, "s", factory=dict) as state:
            state["a"] = 1


@pytest.mark.parametrize("is_plain", [False, True])
async def test_what_could_not_be_opened_can_be_closed(tmp_path: Path, is_plain: bool) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database" * 100)
    persistence = open_persistence(f"sqlite:///{tmp_path.as_posix()}/a.db")
    for _ in range(2):
        with pytest.raises(CorruptDataError):
            await persistence.kv(int, "n").get("a")
    if is_plain:
        sync.Persistence.of(persistence).close()
    else:
        await persistence.aclose()
    with pytest.raises(ClosedError):
        await persistence.kv(int, "n").get("a")


def test_in_a_real_notebook_kernel(tmp_path: Path) -> None:
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    code = f"""
from limpet import open_persistence, sync
plain = sync.create_persistence("sqlite:///{tmp_path.as_posix()}/a.db")
plain.kv(int, "n").set("a", 1)
anywhere = open_persistence("sqlite:///{tmp_path.as_posix()}/a.db")
print(await anywhere.kv(int, "n").get("a"))
"""
    try:
        printed: list[str] = []

        def hear(message: dict[str, dict[str, str]]) -> None:
            printed.append(message["content"].get("text", ""))

        reply = client.execute_interactive(code, output_hook=hear, timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]
        assert "".join(printed).strip() == "1"
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


def test_async_to_sync_and_back() -> None:
    asgiref = pytest.importorskip("asgiref.sync")
    persistence = open_persistence("memory://")
    plain = sync.Persistence.of(persistence)

    def view(n: int) -> int:
        return int(asgiref.async_to_sync(use)(persistence, n))

    with ThreadPoolExecutor(4) as threads:  # each call runs a loop of its own in its thread
        assert max(threads.map(view, range(20))) == 20

    async def asynchronous_view() -> int:
        return int(await asgiref.sync_to_async(plain.sessions.count_messages)("s1"))

    assert asyncio.run(asynchronous_view()) == 20
    asyncio.run(persistence.aclose())


def test_threads_started_while_others_end() -> None:
    with sync.create_persistence("memory://") as persistence:
        store = persistence.kv(int, "n")
        for n in range(200):
            thread = threading.Thread(target=store.set, args=(str(n), n))
            thread.start()
            if n % 10 == 0:
                thread.join()
        thread.join()
        while len(list(store.keys())) < 200:
            pass
