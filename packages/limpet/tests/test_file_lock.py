"""The lock between processes: exclusive, shared, bounded, fair."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from limpet._errors import UnavailableError
from limpet.driver import FileLock

HOLDER = """
import sys, time
from limpet.driver import FileLock
with FileLock(sys.argv[1], timeout=5).held(shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(path: Path, how: str = "exclusive") -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_it_excludes_other_processes(tmp_path: Path) -> None:
    lock = FileLock(str(tmp_path / "lock"), timeout=0.1)
    process = holder(tmp_path / "lock")
    for shared in (False, True):
        before = time.monotonic()
        with pytest.raises(UnavailableError, match="locked for"), lock.held(shared=shared):
            pass
        assert 0.09 < time.monotonic() - before < 2
    process.communicate("go\n", timeout=10)
    with lock.held():
        pass
    lock.close()


def test_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    lock = FileLock(str(tmp_path / "lock"), timeout=5)
    process = holder(tmp_path / "lock")
    process.kill()
    process.communicate(timeout=10)
    with lock.held():
        pass
    lock.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process")
def test_a_stopped_holder_gives_a_timeout_and_not_a_hang(tmp_path: Path) -> None:
    lock = FileLock(str(tmp_path / "lock"), timeout=0.1)
    process = holder(tmp_path / "lock")
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(UnavailableError, match="is stopped"), lock.held():
        pass
    os.kill(process.pid, signal.SIGCONT)
    process.communicate("go\n", timeout=10)
    with lock.held():
        pass
    lock.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no shared locks on files: readers exclude each other")
def test_readers_share_and_keep_writers_out(tmp_path: Path) -> None:
    process = holder(tmp_path / "lock", "shared")
    lock = FileLock(str(tmp_path / "lock"), timeout=0.1)
    with lock.held(shared=True):
        pass
    with pytest.raises(UnavailableError), lock.held():
        pass
    process.communicate("go\n", timeout=10)
    lock.close()


def test_a_removed_file_does_not_make_two_locks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    one, other = FileLock(str(path), timeout=0.1), FileLock(str(path), timeout=0.1)
    with one.held():
        pass
    path.unlink()
    with one.held(), pytest.raises(UnavailableError), other.held():
        pass
    with other.held():
        pass
    one.close()
    other.close()


def test_who_waits_is_served_before_who_comes_again(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    served: list[str] = []
    end = time.monotonic() + 0.6

    def greedy(name: str) -> None:
        lock = FileLock(path, timeout=5)
        while time.monotonic() < end:
            with lock.held():
                served.append(name)
                time.sleep(0.002)
        lock.close()

    threads = [threading.Thread(target=greedy, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = [served.count(name) for name in "abc"]
    assert min(counts) * 4 > max(counts), counts


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), FileLock(str(tmp_path / "no" / "lock"), timeout=1).held():
        pass
