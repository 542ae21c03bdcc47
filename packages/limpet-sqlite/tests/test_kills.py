"""200 random kills of a writing process: nothing acknowledged is lost, no batch is there by half."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from limpet.driver import Range
from limpet_drivers.sqlite import SqliteDriver

KILLS = 200


def acknowledged(folder: Path) -> int:
    acks = folder / "acks"
    return int(acks.read_text().split()[-1]) if acks.exists() and acks.read_text() else 0


async def check(path: Path) -> int:
    """What a driver that opens the file finds is whole; answer the round it has reached."""
    async with SqliteDriver(path, timeout=10) as driver:
        left, right = await driver.get(["kv!@left", "kv!@right"])
        if left is None:
            assert right is None
            return 0
        assert right is not None
        assert left.value == right.value
        n = int(str(left.value))
        entries = [item.key for item in (await driver.scan(Range("kv!@entry"))).items]
        assert entries == sorted(f"kv!@entry!@{k}" for k in (n - 1, n) if k > 0)
        return n


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL nor fork")
async def test_two_hundred_kills_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.db"
    random = Random(20_261_121)
    program = Path(__file__).with_name("writer_to_kill.py")
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), str(path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    mid_write = 0
    for kill in range(KILLS):
        before = acknowledged(tmp_path)
        parent.stdin.write(b"%d\n" % kill)
        child = int(await parent.stdout.readline())
        until = monotonic() + 10
        while kill % 10 and acknowledged(tmp_path) == before:  # every tenth is killed while it opens
            assert monotonic() < until
            await asyncio.sleep(0.002)
        await asyncio.sleep(random.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        if kill % 2:  # else the next writer is the first to find what was left
            found = await check(path)
            assert found >= acknowledged(tmp_path), f"kill {kill}: something acknowledged is lost"
            mid_write += found > acknowledged(tmp_path)
    parent.stdin.close()
    assert await parent.wait() == 0
    reached = await check(path)
    assert reached >= acknowledged(tmp_path) > KILLS
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with capsys.disabled():
        print(f"\n{KILLS} kills, {reached} rounds; {mid_write} kills fell between a commit and its acknowledgement")
