"""The connections: who waits for whom, what happens when nobody closes, forks, removes or fails."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from limpet import ClosedError, ConflictError, LimpetError, UnavailableError
from limpet.driver import Etag, If, Put, Range
from limpet.driver.kit import FileLock
from limpet_drivers.sqlite import SqliteDriver

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that stop a process, and no fork")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("limpet-sqlite")]


async def no_threads() -> None:
    until = monotonic() + 5
    while threads():
        assert monotonic() < until, threads()
        await asyncio.sleep(0.01)


def run(program: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


async def test_the_event_loop_goes_on_while_another_program_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path) as driver:
        await driver.apply([Put("kv!@a", "before")])
        gaps: list[float] = []
        done = False

        async def watch() -> None:
            last = monotonic()
            while not done:
                await asyncio.sleep(0.005)
                now = monotonic()
                gaps.append(now - last)
                last = now

        watching = asyncio.create_task(watch())
        with closing(sqlite3.connect(path, isolation_level=None)) as other:  # it knows nothing of our queue
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(driver.apply([Put("kv!@a", "after")]))
            for _ in range(50):
                (item,) = await driver.get(["kv!@a"])
                assert item is not None
                assert item.value == "before", "readers do not wait for writers"
                await asyncio.sleep(0.01)
            assert not writing.done()
            other.execute("COMMIT")
        await writing
        done = True
        await watching
        (item,) = await driver.get(["kv!@a"])
        assert item is not None
        assert item.value == "after"
        assert len(gaps) > 50
        assert max(gaps) < 0.25, f"the event loop stood still for {max(gaps):.3f} s"


async def test_another_program_that_keeps_the_lock_is_named_after_the_timeout(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path, timeout=0.2) as driver:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError, match="another program keeps"):
                await driver.apply([Put("kv!@a", "v", If.ABSENT)])
            with pytest.raises(UnavailableError, match="another program keeps"):
                await driver.apply([Put("kv!@a", "v")])
        await driver.apply([Put("kv!@a", "v", If.ABSENT)])


async def test_two_drivers_in_one_process_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path) as one, SqliteDriver(path) as two:
        await one.apply([Put("kv!@a", "1", etag=Etag("a" * 22))])
        (item,) = await two.get(["kv!@a"])
        assert item is not None
        await two.apply([Put("kv!@a", "2", item.etag)])
        with pytest.raises(ConflictError):
            await one.apply([Put("kv!@a", "3", item.etag)])
        answers = await asyncio.gather(
            *(driver.apply([Put(f"kv!@{n}", "v", If.ABSENT)]) for n in range(50) for driver in (one, two)),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers].count(ConflictError) == 50
        assert answers.count(None) == 50


async def test_opening_a_second_driver_keeps_the_locks_of_the_first(tmp_path: Path) -> None:
    """POSIX drops a process's locks on a file when any handle on it is closed: nothing here may open it but SQLite."""
    path = tmp_path / "agent.db"
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=0)\n"
        "try:\n"
        "    print(connection.execute('PRAGMA journal_mode = DELETE').fetchone())\n"
        "except sqlite3.OperationalError as error:\n"
        "    print(error)\n"
        "connection.close()\n"
    )
    async with SqliteDriver(path) as driver:
        await driver.apply([Put("kv!@a", "v")])
        async with SqliteDriver(path) as other:
            await other.get(["kv!@a"])
            await other.health()
        assert "locked" in await asyncio.to_thread(run, program, path)


async def test_closing_ends_the_threads_and_leaves_one_file_of_data(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path) as driver:
        await driver.apply([Put("kv!@a", "v")])
        assert len(threads()) == 2
    await no_threads()
    assert not (tmp_path / "agent.db-wal").exists()


async def test_a_driver_that_is_dropped_gives_everything_back(tmp_path: Path) -> None:
    driver = SqliteDriver(tmp_path / "agent.db")
    await driver.open()
    await driver.apply([Put("kv!@a", "v")])
    assert len(threads()) == 2
    del driver
    gc.collect()
    await no_threads()
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        assert [item and item.value for item in await driver.get(["kv!@a"])] == ["v"]


@POSIX
async def test_a_folder_may_go_before_the_driver_does(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    dropped, closed = SqliteDriver(folder / "dropped.db"), SqliteDriver(folder / "closed.db")
    await dropped.open()
    await closed.open()
    shutil.rmtree(folder)
    await closed.close()
    del dropped, closed
    gc.collect()
    await no_threads()  # a thread that fails would fail this test
    assert not folder.exists()


async def test_an_opening_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(LimpetError):
        await SqliteDriver(tmp_path).open()
    await no_threads()


def test_who_forgets_to_close_still_gets_out(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from limpet.driver import Put
from limpet_drivers.sqlite import SqliteDriver
async def main():
    global driver
    driver = SqliteDriver(sys.argv[1])
    await driver.open()
    await driver.apply([Put("kv!@a", "kept")])
    asyncio.get_running_loop().create_task(driver.apply([Put("kv!@b", "perhaps")]))
asyncio.run(main())
print("out")
"""
    started = monotonic()
    assert run(program, tmp_path / "agent.db") == "out\n"
    assert monotonic() - started < 10
    with closing(sqlite3.connect(tmp_path / "agent.db")) as connection:
        assert connection.execute("SELECT value FROM items WHERE key = 'kv!@a'").fetchone() == ("kept",)


@POSIX
def test_a_child_of_fork_is_told_to_open_its_own(tmp_path: Path) -> None:
    program = """
import asyncio, gc, os, sys, warnings
from limpet import ForkedError
from limpet.driver import Put
from limpet_drivers.sqlite import SqliteDriver
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: that is the point
async def in_child():
    global driver
    for call in (lambda: driver.get(["kv!@a"]), lambda: driver.apply([Put("kv!@a", "child")]), driver.health):
        try:
            await call()
        except ForkedError:
            continue
        os._exit(1)
    del driver
    gc.collect()
    async with SqliteDriver(sys.argv[1]) as own:
        await own.apply([Put("kv!@b", "child")])
async def in_parent():
    global driver
    driver = SqliteDriver(sys.argv[1])
    await driver.open()
    await driver.apply([Put("kv!@a", "parent")])
    child = os.fork()
    if not child:
        asyncio.run(in_child())
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        await driver.apply([Put("kv!@a", "parent")])
    assert [item.value for item in await driver.get(["kv!@a", "kv!@b"])] == ["parent", "child"]
    await driver.close()
    print("fine")
asyncio.run(in_parent())
"""
    assert run(program, tmp_path / "agent.db") == "fine\n"


@POSIX
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_goes_away_takes_no_more_writes(tmp_path: Path, how: str) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(tmp_path / "other.db") as driver:
        await driver.apply([Put("kv!@a", "the other's")])
    driver = SqliteDriver(path)
    await driver.open()
    await driver.apply([Put("kv!@a", "v")])
    path.unlink()
    if how == "replaced":
        shutil.copy(tmp_path / "other.db", path)
    content = path.read_bytes() if path.exists() else None
    with pytest.raises(UnavailableError, match="removed or replaced"):
        await driver.apply([Put("kv!@a", "lost")])
    await asyncio.sleep(0.11)  # readers look ten times a second
    with pytest.raises(UnavailableError, match="removed or replaced"):
        await driver.get(["kv!@a"])
    await driver.close()
    assert (path.read_bytes() if path.exists() else None) == content


async def test_a_full_database_says_so_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        await driver.apply([Put("kv!@a", "v")])
        assert driver._client is not None
        await driver._client.write(lambda connection: connection.execute("PRAGMA max_page_count = 10").fetchall())
        for batch in ([Put("kv!@b", "x" * 100_000)], [Put("kv!@b", "x" * 100_000, If.ABSENT)]):
            with pytest.raises(UnavailableError, match="no space left") as raised:
                await driver.apply(batch)
            assert not raised.value.sent, "it is known that nothing was written"
        await driver._client.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000").fetchall())
        await driver.apply([Put("kv!@b", "x" * 100_000, If.ABSENT)])
        assert [item.key for item in (await driver.scan(Range("kv"))).items] == ["kv!@a", "kv!@b"]


@POSIX
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_place_without_rights_is_read_only(tmp_path: Path, what: str) -> None:
    """In a process of its own, which gives up being root where it is."""
    program = """
import asyncio, os, sys
from pathlib import Path
from limpet import ReadOnlyError
from limpet.driver import Put
from limpet_drivers.sqlite import SqliteDriver
async def fill():
    async with SqliteDriver(sys.argv[1]) as driver:
        await driver.apply([Put("kv!@a", "v")])
async def main():
    async with SqliteDriver(sys.argv[1]) as driver:
        await driver.apply([Put("kv!@a", "v")])
if sys.argv[2] == "file":
    asyncio.run(fill())
    os.chmod(sys.argv[1], 0o444)
    os.chmod(Path(sys.argv[1]).parent, 0o777)
    for beside in Path(sys.argv[1]).parent.glob("*-lock*"):
        os.chmod(beside, 0o666)
else:
    os.chmod(Path(sys.argv[1]).parent, 0o555)
if os.getuid() == 0:
    os.setuid(65534)
try:
    asyncio.run(main())
except ReadOnlyError as error:
    print("read only")
"""
    folder = tmp_path / "place"
    folder.mkdir()
    for above in [folder, *folder.parents][:4]:
        above.chmod(above.stat().st_mode | 0o555)
    try:
        assert run(program, folder / "agent.db", what) == "read only\n"
    finally:
        folder.chmod(0o755)


async def test_a_closed_driver_is_closed(tmp_path: Path) -> None:
    driver = SqliteDriver(tmp_path / "agent.db")
    with pytest.raises(ClosedError):
        await driver.health()
    await driver.open()
    await driver.close()
    for call in (driver.health(), driver.purge(), driver.clear("kv")):
        with pytest.raises(ClosedError):
            await call


async def test_a_process_that_stops_writing_gives_its_turn_back(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        other = FileLock(str(tmp_path / "agent.db-lock"), timeout=5)
        for n in range(20):  # one after the other: the turn is kept from one write to the next
            await driver.apply([Put("kv!@a", str(n))])
        with other.held():  # given back without another write
            writing = asyncio.create_task(driver.apply([Put("kv!@a", "later")]))
            await asyncio.sleep(0.05)
            assert not writing.done()
        await writing
        other.close()


async def test_a_process_that_goes_on_writing_lets_others_in(tmp_path: Path) -> None:
    async with SqliteDriver(tmp_path / "agent.db") as driver:
        other = FileLock(str(tmp_path / "agent.db-lock"), timeout=5)

        async def keep_writing() -> None:
            while True:
                await driver.apply([Put("kv!@a", "v")])

        writing = asyncio.create_task(keep_writing())
        for _ in range(20):
            await asyncio.to_thread(other.acquire)  # fails after five seconds
            other.release()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        other.close()


@POSIX
def test_a_fork_in_the_middle_of_a_call_that_does_not_end_costs_the_child_the_file(tmp_path: Path) -> None:
    program = """
import asyncio, os, sqlite3, sys, warnings
from limpet import ForkedError
from limpet.driver import Put
from limpet.driver.kit import _forks
from limpet_drivers.sqlite import SqliteDriver
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: that is the point
warnings.simplefilter("ignore", ResourceWarning)  # of the child's copy of `stranger`, which nobody may close there
_forks._PATIENCE = 0.2
async def in_child():
    try:
        await SqliteDriver(sys.argv[1]).open()
    except ForkedError as error:
        assert "in the middle of a long call" in str(error)
    else:
        os._exit(1)
    async with SqliteDriver(sys.argv[2]) as other:  # another file is none of its business
        await other.commit([[Put("kv!@a", "child")]])
async def main():
    async with SqliteDriver(sys.argv[1]) as driver:
        await driver.commit([[Put("kv!@a", "before")]])
        with sqlite3.connect(sys.argv[1], isolation_level=None) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(driver.commit([[Put("kv!@a", "parent")]]))
            await asyncio.sleep(0.1)
            child = os.fork()
            if not child:
                asyncio.run(in_child())
                sys.exit()  # Python ends as it does, and closes nothing of the parent's
            stranger.execute("COMMIT")
        stranger.close()
        assert await waiting == [None]
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0, status
        assert [item.value for item in await driver.get(["kv!@a"])] == ["parent"]
    print("fine")
asyncio.run(main())
"""
    said = run(program, tmp_path / "agent.db", tmp_path / "other.db")
    assert said == "fine\n"
