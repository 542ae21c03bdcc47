"""Eight processes write to one file: no error, and a fair share for each."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from limpet.driver import Item, Put, Range, number
from limpet_drivers.sqlite import SqliteDriver

PROCESSES = 8
SECONDS = 2.0

WRITER = """
import asyncio, sys
from time import monotonic
from limpet.driver import Check, Put
from limpet_drivers.sqlite import SqliteDriver

async def main(path, name, seconds):
    async with SqliteDriver(path) as driver:
        print("ready", flush=True)
        sys.stdin.readline()
        until, count, worst = monotonic() + seconds, 0, 0.0
        while (started := monotonic()) < until:
            await driver.append("log!n", [Put("log!entry", f"{name} {count}")], Check("log!head"))
            worst = max(worst, monotonic() - started)
            count += 1
        print(count, worst)

asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""


async def everything(driver: SqliteDriver, base: str) -> AsyncIterator[Item]:
    after: str | None = None
    while True:
        page = await driver.scan(Range(base, after=after, limit=1000))
        for item in page.items:
            yield item
        after = page.next
        if after is None:
            return


async def test_eight_processes_share_a_file_fairly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.db"
    async with SqliteDriver(path) as driver:
        await driver.apply([Put("log!head", "")])
        writers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", WRITER, str(path), str(n), str(SECONDS)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for n in range(PROCESSES)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert await writer.stdout.readline() == b"ready\n"
        answers = await asyncio.gather(*(writer.communicate(b"go\n") for writer in writers))
        assert [error.decode() for _, error in answers] == [""] * PROCESSES
        counts = [int(out.split()[0]) for out, _ in answers]
        worst = max(float(out.split()[1]) for out, _ in answers)
        with capsys.disabled():
            print(
                f"\neight processes, {SECONDS:g} s: {sum(counts) / SECONDS:.0f} appends a second; "
                f"each {min(counts)} to {max(counts)}; worst wait {worst * 1000:.0f} ms"
            )
        assert min(counts) * 3 > max(counts), counts
        found = []
        async for item in everything(driver, "log!entry"):
            found.append(str(item.value))
            assert item.key == f"log!entry!{number(len(found) - 1)}", "numbers without a gap"
        assert len(found) == sum(counts)
        for n in range(PROCESSES):
            own = [int(value.split()[1]) for value in found if value.split()[0] == str(n)]
            assert own == list(range(counts[n])), "each one's own order is kept"
