"""Behind a writer that was stopped in the middle of its transaction."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest
from limpet import UnavailableError
from limpet.driver import Put, Range
from limpet_drivers.sqlite import SqliteDriver

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that stop a process")


STOPS_IN_THE_MIDDLE = """
import asyncio, os, signal, sys
from limpet.driver import If, Put
from limpet_drivers.sqlite import SqliteDriver, _commands

def stop(*arguments):
    os.kill(os.getpid(), signal.SIGSTOP)
    return evaluate(*arguments)

evaluate, _commands.evaluate = _commands.evaluate, stop

async def main():
    async with SqliteDriver(sys.argv[1]) as driver:
        await driver.apply([Put("kv!@stopped", "v", If.ABSENT)])

asyncio.run(main())
"""


@asynccontextmanager
async def stopped_writer(path: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process that was stopped in the middle of its transaction."""
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", STOPS_IN_THE_MIDDLE, str(path)])
    try:
        found, status = await asyncio.to_thread(os.waitpid, process.pid, os.WUNTRACED)
        assert found == process.pid
        assert os.WIFSTOPPED(status)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(process.wait, 10)
    assert process.returncode == 0


async def let_it_go_on(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(process.wait, 10) == 0


@POSIX
async def test_a_stopped_writer_costs_others_their_timeout_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path, timeout=0.4) as driver, stopped_writer(path) as process:
        started = monotonic()
        answers = await asyncio.gather(
            *(driver.apply([Put(f"kv!@{n}", "late")]) for n in range(5)), return_exceptions=True
        )
        assert 0.35 < monotonic() - started < 1.5, "all of them wait together, not one after the other"
        assert [type(answer) for answer in answers] == [UnavailableError] * 5
        assert "'" not in str(answers[0]) or "agent.db" in str(answers[0])
        assert await driver.get(["kv!@0", "kv!@stopped"]) == [None, None], "reading goes on"
        await let_it_go_on(process)
        await driver.apply([Put("kv!@after", "v")])
        found = [item.key for item in (await driver.scan(Range("kv"))).items]
        assert found == ["kv!@after", "kv!@stopped"], "what timed out is never done later"


@POSIX
async def test_a_write_that_is_cancelled_before_its_turn_is_never_done(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path) as driver, stopped_writer(path) as process:
        first = asyncio.create_task(driver.apply([Put("kv!@first", "v")]))
        second = asyncio.create_task(driver.apply([Put("kv!@second", "v")]))
        third = asyncio.create_task(driver.apply([Put("kv!@third", "v")]))
        await asyncio.sleep(0.1)  # the first stands in the queue of processes, the others behind it
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert second.cancelled()
        await let_it_go_on(process)
        await third
        assert [item.key for item in (await driver.scan(Range("kv"))).items] == ["kv!@stopped", "kv!@third"]


@POSIX
async def test_opening_behind_a_stopped_writer_ends_too(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path), stopped_writer(path):
        started = monotonic()
        with pytest.raises(UnavailableError):
            await SqliteDriver(path, timeout=0.3).open()
        assert monotonic() - started < 3


@POSIX
async def test_closing_behind_a_stopped_writer_ends_too(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    driver = SqliteDriver(path)
    await driver.open()
    async with stopped_writer(path):
        started = monotonic()
        await driver.close()
        assert monotonic() - started < 3
