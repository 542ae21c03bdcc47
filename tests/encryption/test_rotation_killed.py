"""A rotation that is killed in the middle: nothing is lost, both keys open the place, and the next run goes on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from limpet import WrongKeyError, create_persistence
from limpet.opening import driver_from_url
from limpet.wrappers import encrypted, rotate
from limpet.wrappers.encryption import _rotation
from limpet.wrappers.encryption._keyring import open_ring

OLD, NEW = bytes(range(32)).hex(), bytes(range(32, 64)).hex()
RECORDS = 2500

ROTATION = """
import asyncio, sys, time
from limpet import create_persistence
from limpet.wrappers import encrypted, rotate

def show(step):
    print(step.examined, flush=True)
    time.sleep(0.02)

async def main(url, old, new, form):
    async with create_persistence(url, wrappers=[encrypted(key=new, old_keys=[old])]) as persistence:
        await rotate(persistence.driver, reseal=form == "complete", progress=show)

asyncio.run(main(*sys.argv[1:]))
"""


def killed_rotation(url: str, pages: int, form: str) -> None:
    """Let a process rotate, and kill it once it has told of so many pages."""
    command = [sys.executable, "-c", ROTATION, url, OLD, NEW, form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(pages):
            assert process.stdout.readline(), "it ended before it was killed"
        process.kill()
    assert process.returncode == -9


@pytest.mark.parametrize("form", ["ordinary", "complete"])
@pytest.mark.parametrize("scheme", ["sqlite", pytest.param("fs", marks=pytest.mark.again)])
async def test_a_killed_rotation_is_gone_on_with(
    scheme: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rotation, "_LEASE_SECONDS", 0.0)
    url = f"sqlite:///{tmp_path}/agent.db" if scheme == "sqlite" else f"fs://{tmp_path}/agent"
    async with create_persistence(url, wrappers=[encrypted(key=OLD)]) as persistence:
        numbers = persistence.kv(int, "numbers")
        await numbers.set_many({str(n): n for n in range(RECORDS)})
    wanted = {str(n): n for n in range(RECORDS)}
    both = [encrypted(key=NEW, old_keys=[OLD])]
    for pages in (1, 3):
        await asyncio.to_thread(killed_rotation, url, pages, form)
        async with create_persistence(url, wrappers=both) as persistence:
            numbers = persistence.kv(int, "numbers")
            assert dict(await numbers.list()) == wanted
            wanted["0"] = pages
            await numbers.set("0", pages)
        with pytest.raises(WrongKeyError, match="newer key"):
            await create_persistence(url, wrappers=[encrypted(key=OLD)])
    async with create_persistence(url, wrappers=both) as persistence:
        done = await rotate(persistence.driver)
        assert done.sealed < RECORDS - 200, "the runs that were killed had done something"
        if form == "ordinary":
            assert done.examined < RECORDS, "what they had done was not read again"
    async with create_persistence(url, wrappers=[encrypted(key=NEW)]) as persistence:
        assert dict(await persistence.kv(int, "numbers").list()) == wanted
        assert (await rotate(persistence.driver)).sealed == 0
        async with driver_from_url(url) as driver:
            assert (await open_ring(driver, [bytes.fromhex(NEW)])).sealer.first == (2 if form == "complete" else 1)
    with pytest.raises(WrongKeyError, match="older one"):
        await create_persistence(url, wrappers=[encrypted(key=OLD)])
