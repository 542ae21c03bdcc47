"""Two hundred kills of a writing process: what was acknowledged is there, no batch is half there."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from limpet.driver import Range
from limpet_drivers.fs import FsDriver

WRITER = Path(__file__).with_name("writer_to_kill.py")
KILLS = 200


@contextmanager
def writers(base: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, str(WRITER), str(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(10)


async def look(base: Path) -> tuple[int, list[str]]:
    """The last round that is there, and every key."""
    async with FsDriver(base) as driver:
        left, right = await driver.get(["kv!@left", "kv!@right"])
        values = {None if item is None else str(item.value) for item in (left, right)}
        assert len(values) == 1, f"half a batch: {values}"
        (value,) = values
        return int(value or 0), [item.key for item in (await driver.scan(Range("", limit=1000))).items]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forked, and this system cannot")
def test_two_hundred_kills(tmp_path: Path) -> None:
    random = Random(20)
    base, acks = tmp_path / "base", tmp_path / "acks"
    rounds: list[int] = []
    with writers(base) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for kill in range(KILLS):
            server.stdin.write(f"{kill}\n")
            server.stdin.flush()
            child = int(server.stdout.readline())
            time.sleep(random.choice([random.uniform(0, 0.02), random.uniform(0, 0.25)]))
            os.kill(child, signal.SIGKILL)
            found, keys = asyncio.run(look(base))
            acked = int(acks.read_text().split()[-1]) if acks.exists() and acks.read_text() else 0
            assert found in (acked, acked + 1), f"kill {kill}: acknowledged {acked}, found {found}"
            entries = [f"kv!@entry{n % 3}!@{n}" for n in (found - 1, found) if n > 0]
            assert sorted(keys) == sorted([*entries, *(["kv!@left", "kv!@right"] if found else [])]), f"kill {kill}"
            rounds.append(found)
            if found > acked:  # the next writer goes on from here
                acks.write_text(f"{found}\n")
    assert rounds[-1] > 2 * KILLS, "most writers should have written something before they died"
    assert list((base / ".limpet" / "new").iterdir()) == []
    print(f"{KILLS} kills, {rounds[-1]} rounds")
