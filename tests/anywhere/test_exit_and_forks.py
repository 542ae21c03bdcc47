"""The interpreter's exit, with and without a close, and forks: nothing hangs, nothing is lost, nothing is printed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from limpet import sync

WITHIN = 30.0
"""Seconds for a process that has nothing to wait for, on a busy machine."""

START = """
import asyncio, os, sys, threading, time
from limpet import ForkedError, open_persistence, sync
url = sys.argv[1]
"""
ENDINGS = {
    "closed": "persistence.close()",
    "forgotten": "",
    "forgotten by sys.exit": "sys.exit(0)",
    "a job claimed": "persistence.work('jobs').put(1); job = persistence.work('jobs').claim()[0]; job.__enter__()",
    "a state entered": "persistence.state(dict, 's', factory=dict).__enter__()",
    "subscribed": "persistence.events().subscribe('c', print)",
    "a callback that never returns": "persistence.events(); queue = persistence.events(); "
    "queue.subscribe('c', lambda event: time.sleep(3600)); queue.publish('c', 1); time.sleep(0.2)",
    "a thread that waits": "threading.Thread(target=lambda: persistence.work('jobs').claim(wait=3600), daemon=True).start(); time.sleep(0.2)",
    "an iterator half read": "persistence.events().publish('c', 1); stream = persistence.events().stream('c'); next(stream)",
    "upkeep": "persistence.upkeep().__enter__()",
}


def run(script: str, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", START + script, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN, check=False)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends(lasting_url: str, ending: str) -> None:
    script = f"persistence = sync.create_persistence(url)\npersistence.kv(int, 'n').set('a', 1)\n{ENDINGS[ending]}"
    done = run(script, lasting_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with sync.create_persistence(lasting_url) as persistence:
        assert persistence.kv(int, "n").get("a") == 1


def test_the_interpreter_ends_although_the_loop_is_stuck(tmp_path: Path) -> None:
    script = """
persistence = sync.create_persistence(url)
persistence.kv(int, 'n').set('a', 1)
threading.Thread(target=persistence.kv(int, 'n').update, args=('a', lambda value: time.sleep(3600)), daemon=True).start()
time.sleep(0.2)
"""
    started = time.monotonic()
    assert run(script, f"sqlite:///{tmp_path}/a.db").returncode == 0
    assert time.monotonic() - started < WITHIN


def test_one_that_is_open_anywhere_is_forgotten_too(lasting_url: str) -> None:
    script = """
persistence = open_persistence(url)
async def main():
    await persistence.kv(int, 'n').set('a', 1)
asyncio.run(main())
asyncio.run(main())
"""
    done = run(script, lasting_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORKS = {
    "uses it": """
    try:
        persistence.kv(int, 'n').get('a')
    except ForkedError:
        print('refused')
""",
    "closes it": "    persistence.close(); print('refused')",
    "does nothing": "    print('refused')",
    "opens one of its own": """
    with sync.create_persistence(url) as own:
        assert own.kv(int, 'n').get('a') == 1
        own.kv(int, 'n').set('child', 1)
    print('refused')
""",
    "drops it": "    del persistence; import gc; gc.collect(); print('refused')",
}


@pytest.mark.parametrize("child", FORKS)
def test_a_fork(lasting_url: str, child: str) -> None:
    script = f"""
import warnings; warnings.simplefilter("ignore")
persistence = sync.create_persistence(url)
persistence.kv(int, 'n').set('a', 1)
if not os.fork():
{FORKS[child]}
    sys.exit(0)
_, status = os.wait()
assert status == 0
persistence.kv(int, 'n').set('b', 2)
assert persistence.kv(int, 'n').get('a') == 1
persistence.close()
"""
    done = run(script, lasting_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n", "")


def test_what_was_not_used_before_a_fork_is_each_ones_own(lasting_url: str) -> None:
    script = """
import warnings; warnings.simplefilter("ignore")
persistence = sync.open_persistence(url)
anywhere = open_persistence(url)
children = []
for n in range(3):
    children.append(os.fork())
    if not children[-1]:
        persistence.kv(int, 'n').set(str(n), n)
        asyncio.run(anywhere.kv(int, 'm').set(str(n), n))
        sys.exit(0)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
assert sorted(n for _, n in persistence.kv(int, 'n').list()) == [0, 1, 2]
assert len(asyncio.run(anywhere.kv(int, 'm').get_many(['0', '1', '2']))) == 3
"""
    done = run(script, lasting_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_forks_while_other_threads_call(tmp_path: Path) -> None:
    script = """
import warnings; warnings.simplefilter("ignore")
persistence = sync.open_persistence(url)
stop = False
def write():
    n = 0
    while not stop:
        persistence.kv(int, 'n').set(f'{threading.get_ident()}:{n}', n); n += 1
    counts.append(n)
counts = []
threads = [threading.Thread(target=write) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(10):
    time.sleep(0.02)
    if not os.fork():
        try: persistence.kv(int, 'n').get('a')
        except ForkedError: os._exit(0)
        os._exit(1)
    assert os.wait()[1] == 0
stop = True
for thread in threads: thread.join()
assert len(list(persistence.kv(int, 'n').keys())) == sum(counts)
"""
    done = run(script, f"sqlite:///{tmp_path}/a.db")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
