"""What the system is asked to do, seen from outside: how often data is brought to the disk, and what if that fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from limpet_drivers.sqlite import SqliteDriver

STRACE = shutil.which("strace")

PROGRAM = """
import asyncio, os, sys
from limpet import OutcomeUnknownError
from limpet.driver import Check, Etag, If, Put, Range
from limpet.wrappers import Batching
from limpet_drivers.sqlite import SqliteDriver

def mark(name):
    try:
        os.open(f"/marked/{name}", os.O_RDONLY)
    except FileNotFoundError:
        pass

async def main():
    driver = SqliteDriver.from_url(sys.argv[1])
    async with Batching(driver) as batching:
        await driver.apply([Put("kv!@first", "v")])
        mark("lone")
        for n in range(20):
            await driver.apply([Put(f"kv!@{n}", "v")])
        mark("conditioned")
        for n in range(20):
            await driver.apply([Put(f"kv!@conditioned{n}", "v", If.ABSENT), Check("kv!@first")])
        mark("read")
        for n in range(20):
            await driver.get([f"kv!@{n}"])
            await driver.scan(Range("kv"))
        mark("together")
        await asyncio.gather(*(batching.apply([Put(f"kv!@together{n}", "v")]) for n in range(1000)))
        mark("end")

asyncio.run(main())
"""


@pytest.fixture
def strace() -> str:
    if STRACE is None:
        message = "not tested: syncs are counted by strace, which is not installed (Linux: apt install strace)"
        if os.environ.get("LIMPET_REQUIRE_BACKENDS") == "1" and sys.platform == "linux":
            pytest.fail(message)
        pytest.skip(message)
    return STRACE


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def syncs(strace: str, folder: Path, url: str) -> dict[str, int]:
    """How often fsync or fdatasync was called after each mark, by all threads together."""
    log = folder / "calls"
    traced = [strace, "-f", "-qq", "-e", "trace=fsync,fdatasync,openat,open", "-o", str(log)]
    done = run([*traced, sys.executable, "-c", PROGRAM, url])
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = {}
    mark = "start"
    for line in log.read_text().splitlines():
        if "/marked/" in line:
            mark = line.split("/marked/")[1].split('"')[0]
            counts[mark] = 0
        elif ("fsync(" in line or "fdatasync(" in line) and "resumed" not in line:
            counts[mark] = counts.get(mark, 0) + 1
    return counts


def test_an_acknowledged_write_has_been_synced_once(tmp_path: Path, strace: str) -> None:
    counts = syncs(strace, tmp_path, f"sqlite:///{tmp_path}/agent.db")
    assert counts["lone"] == 20
    assert counts["conditioned"] == 20
    assert counts["read"] == 0
    assert 1 <= counts["together"] <= 5, "a thousand that come together are synced together"


def test_relaxed_does_not_wait_for_the_disk(tmp_path: Path, strace: str) -> None:
    counts = syncs(strace, tmp_path, f"sqlite:///{tmp_path}/agent.db?durability=relaxed")
    assert (counts["lone"], counts["conditioned"], counts["read"], counts["together"]) == (0, 0, 0, 0)


FAILING = """
import asyncio, sys
from limpet import LimpetError, OutcomeUnknownError
from limpet.driver import Etag, If, Put
from limpet_drivers.sqlite import SqliteDriver

async def main():
    acknowledged, unknown = [], []
    async with SqliteDriver(sys.argv[1]) as driver:
        for n in range(40):
            batch = [Put(f"kv!@{n}", "v")] if n % 2 else [Put(f"kv!@{n}", "v"), Put(f"kv!@{n}again", "v")]
            try:
                await driver.apply(batch)
            except OutcomeUnknownError as error:
                assert "disk" in str(error)
                unknown.append(n)
            else:
                acknowledged.append(n)
    async with SqliteDriver(sys.argv[1]) as driver:
        for n in acknowledged:
            assert all(await driver.get([f"kv!@{n}"] if n % 2 else [f"kv!@{n}", f"kv!@{n}again"])), n
        for n in unknown:
            if n % 2 == 0:
                assert len({item is None for item in await driver.get([f"kv!@{n}", f"kv!@{n}again"])}) == 1, n
    print(len(acknowledged), len(unknown))

asyncio.run(main())
"""


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
async def test_a_write_that_the_disk_refuses_is_not_acknowledged(tmp_path: Path, strace: str, call: str) -> None:
    """Every fifth sync, or every eleventh write, of each thread fails as on a broken disk."""
    async with SqliteDriver(tmp_path / "agent.db"):
        pass  # made on a sound disk
    when = "8+5" if call == "fdatasync" else "40+11"
    injected = [strace, "-f", "-qq", "-o", str(tmp_path / "calls"), "-e", f"trace={call}"]
    injected += ["-e", f"inject={call}:error=EIO:when={when}"]
    program = [sys.executable, "-c", FAILING, str(tmp_path / "agent.db")]
    done = await asyncio.to_thread(run, [*injected, *program])
    assert done.returncode == 0, done.stderr
    acknowledged, unknown = map(int, done.stdout.split())
    assert acknowledged + unknown == 40
    assert unknown >= 3
    assert acknowledged >= 20
