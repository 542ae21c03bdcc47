"""A fork while a place is open: the child is refused by name and holds nothing, and the parent loses nothing.

Every combination of what the child does (sleep, use what it inherited, close it, leave, open the place itself) and of
what the parent does then (go on, close, die in the middle of writing).
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from limpet.driver import Put, Range
from limpet_drivers.fs import FsDriver

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PARENT = """
import asyncio, os, sys, time
from limpet._errors import ForkedError
from limpet.driver import Put
from limpet_drivers.fs import FsDriver

base, child_does, parent_does = sys.argv[1:]

async def refused(call):
    try:
        await call
    except ForkedError:
        return
    os._exit(3)

async def inherited(driver):
    if child_does == "uses":
        await refused(driver.get(["kv!@a"]))
        await refused(driver.apply([Put("kv!@child", "never")]))
    if child_does == "closes":
        await driver.close()

async def opened():
    async with FsDriver(base) as own:
        await own.apply([Put("child!@x", "1")])

def child(driver):
    if child_does == "leaves":
        sys.exit(0)  # with all that Python does at an exit
    asyncio.set_event_loop(None)
    asyncio.events._set_running_loop(None)
    asyncio.run(inherited(driver))
    if child_does == "opens":
        asyncio.run(opened())
    open(base + ".child", "w").close()
    time.sleep(30)
    os._exit(0)

async def main():
    driver = FsDriver(base)
    await driver.open()
    acknowledged = os.open(base + ".acks", os.O_WRONLY | os.O_CREAT)
    n = 0
    async def write():
        nonlocal n
        await driver.apply([Put(f"kv!@{n}", "x" * 1000), Put("kv!@last", str(n))])
        os.write(acknowledged, b"%d\\n" % n)
        n += 1
    for _ in range(5):
        await write()
    under_way = asyncio.create_task(write())  # its thread may hold the lock just now
    await asyncio.sleep(0)
    pid = os.fork()
    if not pid:
        child(driver)
    print(pid, flush=True)
    await under_way
    while parent_does == "dies":
        await write()
    for _ in range(20):
        await write()
    await driver.close()
    print("closed", flush=True)
    if parent_does == "goes on":
        await asyncio.sleep(30)

asyncio.run(main())
"""


async def look(base: Path) -> dict[str, object]:
    """What another process finds, after it wrote."""
    async with FsDriver(base, lock_timeout=3) as driver:
        await driver.apply([Put("other!@x", "1")])
        return {item.key: item.value for item in (await driver.scan(Range(limit=1000))).items}


@pytest.mark.parametrize("child_does", ["sleeps", "uses", "closes", "leaves", "opens"])
@pytest.mark.parametrize("parent_does", ["goes on", "closes", "dies"])
def test_a_fork(tmp_path: Path, child_does: str, parent_does: str) -> None:
    base = tmp_path / "base"
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARENT, str(base), child_does, parent_does],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        if child_does != "leaves":
            end = time.monotonic() + 10
            while not Path(f"{base}.child").exists():
                assert time.monotonic() < end, "the child hangs, or was not refused"
                time.sleep(0.02)
        if parent_does == "dies":
            time.sleep(0.2)
            parent.kill()
            parent.wait(10)
        else:
            assert parent.stdout.readline() == "closed\n"
        begin = time.monotonic()
        found = asyncio.run(look(base))
        assert time.monotonic() - begin < 2.5, "somebody keeps the lock"
        acknowledged = [int(line) for line in Path(f"{base}.acks").read_text().split()]
        assert len(acknowledged) > 5
        assert all(found[f"kv!@{n}"] == "x" * 1000 for n in acknowledged)
        assert "kv!@child" not in found
        assert ("child!@x" in found) is (child_does == "opens")
    finally:
        parent.kill()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        parent.communicate(timeout=10)
