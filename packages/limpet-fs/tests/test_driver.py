"""What the driver promises beyond the suite: few syncs, a free event loop, an exit that never hangs, a fair lock."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from limpet._errors import ClosedError, ReadOnlyError, UnavailableError
from limpet.driver import Check, Put, Range, Unit
from limpet.driver.kit import FileLock
from limpet_drivers.fs import FsDriver, _checkpoint, _client

PUT_SYNCS = 1
"""Syncs before a put is acknowledged, however many travel together."""
CHECKPOINT_SYNCS = 3
"""Syncs of a checkpoint beyond one for each changed file and each folder around it: index, journal, hidden folder."""


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for something that happens in a thread and tells nobody."""
    async with asyncio.timeout(5):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)


def lock_of(base: Path, timeout: float = 5) -> FileLock:
    return FileLock(str(base / ".limpet" / "lock"), timeout=timeout)


async def test_a_write_costs_one_sync(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        before = driver._files.syncs
        await driver.apply([Put("kv!@a", "1")])
        assert driver._files.syncs - before == PUT_SYNCS
        await driver.append("kv!@log!n", [Put("kv!@log!e", "x")], Check("kv!@a"))
        assert driver._files.syncs - before == 2 * PUT_SYNCS
        await driver.get(["kv!@a"])
        await driver.scan(Range(""))
        assert driver._files.syncs - before == 2 * PUT_SYNCS


async def test_a_thousand_writes_that_travel_together_cost_one_sync(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        before = driver._files.syncs
        units: list[Unit] = [[Put(f"kv!@{n}", "1")] for n in range(1000)]
        assert await driver.commit(units) == [None] * 1000
        assert driver._files.syncs - before == PUT_SYNCS


async def test_what_a_checkpoint_costs(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put("kv!@a", "1")])
        await driver.apply([Put("kv!@a", "2"), Put("kv!@b", "2")])
        before = driver._files.syncs
        await driver._thread.run(driver._checkpoints.finish)
        assert driver._files.syncs - before == CHECKPOINT_SYNCS + 2 + 2  # a and b; their folder and the base
        assert (tmp_path / ".limpet" / "journal").stat().st_size == 512
        before = driver._files.syncs
    assert driver._files.syncs == before, "closing owes nothing more"


@pytest.mark.skipif(_client._sync_file_system is None, reason="this system cannot sync a whole file system")
async def test_a_checkpoint_of_many_files_syncs_the_file_system_once(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put(f"kv!@{n}", "1") for n in range(_checkpoint._MANY + 1)])
        before = driver._files.syncs
        await driver._thread.run(driver._checkpoints.finish)
        assert driver._files.syncs - before == CHECKPOINT_SYNCS + 1
        assert (tmp_path / ".limpet" / "journal").stat().st_size == 512


async def test_durability_process_syncs_at_checkpoints_only(tmp_path: Path) -> None:
    async with FsDriver(tmp_path, durability="process") as driver:
        assert driver.capabilities.durable == "process"
        before = driver._files.syncs
        await driver.apply([Put("kv!@a", "1")])
        assert driver._files.syncs == before
    assert driver._files.syncs > before
    async with FsDriver(tmp_path) as strict, FsDriver(tmp_path, durability="process") as relaxed:
        for n in range(4):
            await (strict, relaxed)[n % 2].apply([Put("kv!@a", str(n))])
        assert [item.value for item in await strict.get(["kv!@a"]) if item] == ["3"]


async def test_an_idle_driver_leaves_an_empty_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checkpoint, "_DELAY", 0.05)
    journal = tmp_path / ".limpet" / "journal"
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put("kv!@a", "1")])
        assert journal.stat().st_size > 512
        await until(lambda: journal.stat().st_size == 512)
        assert (await driver.health()).problems == ()


async def test_a_checkpoint_that_fails_is_reported_and_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put("kv!@a", "1")])
        monkeypatch.setattr(_checkpoint, "_DELAY", 0.0)

        def broken(path: str) -> bool:
            raise OSError(5, "Input/output error", path)

        async def reported() -> bool:
            return (await driver.health()).problems != ()

        async def mended() -> bool:
            return (await driver.health()).problems == ()

        with monkeypatch.context() as broken_disk:
            broken_disk.setattr(driver._files, "sync", broken)
            await driver.get(["kv!@a"])
            await until(reported)
            assert "Input/output error" in (await driver.health()).problems[0]
        await driver.apply([Put("kv!@b", "1")])
        await until(mended)


async def test_the_event_loop_stays_free_while_another_process_holds_the_lock(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        lock = lock_of(tmp_path)
        with lock.held():
            waiting = asyncio.create_task(driver.apply([Put("kv!@a", "1")]))
            longest = 0.0
            end = time.monotonic() + 0.8
            while time.monotonic() < end:
                before = time.monotonic()
                await asyncio.sleep(0.005)
                longest = max(longest, time.monotonic() - before)
            assert not waiting.done()
        await waiting
        assert longest < 0.4, "it was blocked for as long as the lock was held"
        lock.close()


async def test_a_lock_that_is_never_given_back(tmp_path: Path) -> None:
    async with FsDriver(tmp_path, lock_timeout=0.1) as driver:
        lock = lock_of(tmp_path)
        with lock.held():
            for _ in range(2):
                with pytest.raises(UnavailableError, match=r"locked for 0\.1 seconds"):
                    await driver.apply([Put("kv!@a", "1")])
            with pytest.raises(UnavailableError):
                await driver.get(["kv!@a"])
        lock.close()
        await driver.apply([Put("kv!@a", "2")])


async def test_who_is_cancelled_before_its_turn_writes_nothing(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        lock = lock_of(tmp_path)
        with lock.held():
            first = asyncio.create_task(driver.apply([Put("kv!@first", "1")]))
            second = asyncio.create_task(driver.apply([Put("kv!@second", "1")]))
            await asyncio.sleep(0.05)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
        await first
        lock.close()
        assert [item.key for item in (await driver.scan(Range(""))).items] == ["kv!@first"]


FORGETFUL = """
import asyncio, sys
from limpet.driver import Put
from limpet_drivers.fs import FsDriver

async def main():
    driver = FsDriver(sys.argv[1])
    await driver.open()
    await driver.apply([Put("kv!@a", "1")])

asyncio.run(main())
print("done")
"""


def test_a_driver_that_nobody_closed_does_not_hang_the_exit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORGETFUL, str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert (tmp_path / "kv" / "a.json").read_text() == "1\n"


WRITER = """
import asyncio, sys, time
from limpet.driver import Check, Put
from limpet_drivers.fs import FsDriver

async def main(base, seconds):
    done, longest = 0, 0.0
    async with FsDriver(base) as driver:
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = time.monotonic()
            await driver.append("log!@s!n", [Put("log!@s!e", "x")], Check("log!@head"))
            longest = max(longest, time.monotonic() - before)
            done += 1
    print(done, longest, flush=True)

asyncio.run(main(sys.argv[1], float(sys.argv[2])))
"""


async def test_four_processes_on_one_log_are_served_fairly(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put("log!@head", "{}")])
        answers = await asyncio.to_thread(_race, tmp_path, 4)
        (counter,) = await driver.get(["log!@s!n"])
        counts = [int(answer.split()[0]) for answer in answers]
        assert counter is not None
        assert int(str(counter.value)) == sum(counts)
        print(f"appends a process: {counts}, longest waits: {[answer.split()[1][:6] for answer in answers]}")
        assert min(counts) * 10 > max(counts), "somebody was starved"


def _race(base: Path, count: int) -> list[str]:
    command = [sys.executable, "-c", WRITER, str(base), "1.0"]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return [writer.communicate(timeout=60)[0] for writer in writers]


async def test_one_thread_for_each_driver_and_none_after_close(tmp_path: Path) -> None:
    def threads() -> int:
        return sum(thread.name == f"limpet-fs {tmp_path}" for thread in threading.enumerate())

    async with FsDriver(tmp_path) as one, FsDriver(tmp_path) as other:
        await asyncio.gather(*(driver.get(["kv!@a"]) for driver in (one, other) for _ in range(20)))
        assert threads() == 2
    await until(lambda: threads() == 0)


async def test_a_failed_open_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    driver = FsDriver(tmp_path / "file" / "base")
    with pytest.raises((ValueError, UnavailableError)):
        await driver.open()
    (tmp_path / "file").unlink()
    await driver.open()
    await driver.apply([Put("kv!@a", "1")])
    await driver.close()
    with pytest.raises(ClosedError):
        await driver.open()
    name = f"limpet-fs {tmp_path / 'file' / 'base'}"
    await until(lambda: all(thread.name != name for thread in threading.enumerate()))


class FullDisk:
    """The module `os` on a disk that takes this many more bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def write(self, fd: int, data: bytes) -> int:
        taken = min(self.room, len(data))
        if not taken and data:
            raise OSError(28, "No space left on device")
        self.room -= taken
        return os.write(fd, data[:taken])


async def test_a_full_disk_refuses_and_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put("kv!@a", "before"), Put("kv!@b", "before")])
        found = await driver.get(["kv!@a", "kv!@b"])
        for room in range(0, 700, 13):
            with monkeypatch.context() as full:
                full.setattr(_client, "os", FullDisk(room))
                try:
                    await driver.apply([Put("kv!@a", "after"), Put("kv!@b", "x" * 100), Put("kv!@deep!@c", "1")])
                except UnavailableError as error:
                    assert "the disk is full" in str(error)  # noqa: PT017 - with room enough there is no error
                else:
                    break
            assert await driver.get(["kv!@a", "kv!@b"]) == found, room
            assert not (tmp_path / "kv" / "deep").exists()
            assert list((tmp_path / ".limpet" / "new").iterdir()) == []
        else:
            pytest.fail("the last rounds should have had room enough")
        assert room > 300, "the journal should have met the full disk too"
    async with FsDriver(tmp_path) as driver:
        assert [item.value for item in await driver.get(["kv!@a"]) if item] == ["after"]


async def test_a_disk_that_does_not_confirm_leaves_the_outcome_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FsDriver(tmp_path) as driver:
        put = Put("kv!@a", "before")
        await driver.apply([put])

        def broken(fd: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as broken_disk:
            broken_disk.setattr(_client, "_sync", broken)
            with pytest.raises(ConnectionError):
                await driver.apply([Put("kv!@a", "lost")])
        generation = driver._store.ledger.generation
        await driver.apply([Put("kv!@a", "after", put.etag)])
        assert driver._store.ledger.generation != generation, "the journal that failed is not used again"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="a read-only mount needs root")
def test_a_read_only_file_system(tmp_path: Path) -> None:
    async def opened() -> None:
        async with FsDriver(tmp_path) as driver:
            await driver.get(["kv!@a"])

    asyncio.run(opened())
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", str(tmp_path), str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"not tested: this machine refused a bind mount: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(ReadOnlyError, match="read-only"):
            asyncio.run(opened())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
