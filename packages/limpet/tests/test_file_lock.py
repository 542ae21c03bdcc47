"""The lock between processes: exclusive, shared, bounded, fair."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from limpet._errors import ConfigurationError, UnavailableError
from limpet.driver.kit import FileLock

HOLDER = """
import sys, time
from limpet.driver.kit import FileLock
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


needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork, and its links need rights")

FORKING = """
import os, sys, time
from limpet.driver.kit import FileLock
lock = FileLock(sys.argv[1], timeout=5)
with lock.held():
    child = os.fork()
    if not child:
        if sys.argv[2] == "uses":
            try:
                FileLock(sys.argv[1], timeout=0.2).acquire()
                os._exit(1)
            except ConnectionError:
                pass
        if sys.argv[2] == "closes":
            lock.release()
            lock.close()
        if sys.argv[2] != "leaves":
            time.sleep(20)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
"""


def end(parent: "subprocess.Popen[str]", child: int) -> None:
    parent.kill()
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    parent.communicate(timeout=10)


@needs_posix
@pytest.mark.parametrize("does", ["sleeps", "uses", "closes", "leaves"])
@pytest.mark.parametrize("ends", ["releases", "dies"])
def test_a_child_of_fork_holds_nothing(tmp_path: Path, does: str, ends: str) -> None:
    """The lock stays with the parent for as long as the parent wants it, and not a moment longer."""
    path = str(tmp_path / "lock")
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKING, path, does], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    lock = FileLock(path, timeout=5)
    try:
        time.sleep(0.3)
        with pytest.raises(UnavailableError):
            lock.acquire(timeout=0.1)
        if ends == "dies":
            parent.kill()
            parent.wait(10)
        else:
            assert parent.stdin is not None
            parent.stdin.write("go\n")
            parent.stdin.flush()
            parent.wait(10)
        lock.acquire(timeout=2)
    finally:
        lock.close()
        end(parent, child)


WAITING = """
import os, sys, threading, time
from limpet.driver.kit import FileLock
lock = FileLock(sys.argv[1], timeout=60)
threading.Thread(target=lock.acquire, daemon=True).start()
time.sleep(0.3)
child = os.fork()
if not child:
    time.sleep(20)
    os._exit(0)
print(child, flush=True)
time.sleep(20)
"""


@needs_posix
def test_a_child_of_one_who_waits_gets_nothing_either(tmp_path: Path) -> None:
    lock = FileLock(str(tmp_path / "lock"), timeout=5)
    other = FileLock(str(tmp_path / "lock"), timeout=5)
    lock.acquire()
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WAITING, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        lock.release()
        with pytest.raises(UnavailableError):  # the parent has it now
            other.acquire(timeout=0.3)
        parent.kill()
        parent.wait(10)
        other.acquire(timeout=2)
    finally:
        lock.close()
        other.close()
        end(parent, child)


@needs_posix
@pytest.mark.parametrize("name", ["lock", "lock.turn"])
@pytest.mark.parametrize("what", ["link", "dangling link", "folder", "pipe"])
def test_what_stands_in_its_place_is_refused(tmp_path: Path, name: str, what: str) -> None:
    outside = tmp_path / "outside"
    if what == "link":
        outside.write_text("precious")
    if what == "folder":
        (tmp_path / name).mkdir()
    elif what == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to(outside)
    with pytest.raises(ConfigurationError, match="move it away"), FileLock(str(tmp_path / "lock"), timeout=1).held():
        pass
    assert outside.read_text() == "precious" if what == "link" else not outside.exists()


@needs_posix
def test_a_folder_that_is_exchanged_leads_nowhere_else(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    fd = os.open(folder, os.O_RDONLY)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(outside)
    lock = FileLock(str(folder / "lock"), timeout=1, folder=lambda: fd)
    with lock.held():
        assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == ["lock", "lock.turn"]
    lock.close()
    os.close(fd)
    assert list(outside.iterdir()) == []


@needs_posix
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def none(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        pytest.raises(ConfigurationError, match="does not support locks"),
        FileLock(str(tmp_path / "lock"), timeout=1).held(),
    ):
        pass


@needs_posix
def test_a_lock_that_may_only_be_read_still_locks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    one, other = FileLock(str(path), timeout=0.1), FileLock(str(path), timeout=0.1)
    with one.held():
        pass
    real = os.open

    def refused(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EROFS, "Read-only file system")
        return real(name, flags, mode, dir_fd=dir_fd)

    with pytest.MonkeyPatch.context() as mounted:
        mounted.setattr(os, "open", refused)
        with one.held(), pytest.raises(UnavailableError), other.held():
            pass
    one.close()
    other.close()
