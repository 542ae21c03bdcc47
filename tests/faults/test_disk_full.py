"""No room on the server's disk: a small file system of the test's own, filled while the driver writes."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from limpet import OutcomeUnknownError, UnavailableError
from limpet.driver import Driver, Put
from limpet_conformance.servers import find, running

if TYPE_CHECKING:
    from tests.faults.conftest import Site

pytestmark = pytest.mark.slow

_MIB = 1024 * 1024
_LEFT = 6 * _MIB


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """Half a GiB, and no more."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="limpet-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m,mode=755", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture(scope="module")
def site(kind: str, disk: Path, new_site: Callable[..., Site]) -> Iterator[Site]:
    """A server whose data lie on the small disk."""
    if not running(kind).origin.startswith(("program", "stand-in")):
        pytest.skip("only the disk of a program of this machine can be filled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(disk))
        server = find(kind)
    yield new_site(kind, server)
    server.end()


@pytest.mark.fault("disk full")
async def test_the_disk_is_full(site: Site, disk: Path, driver: Driver, happened: Callable[[str], None]) -> None:
    await driver.apply([Put("kv!@first", "x")])
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - _LEFT)
    acknowledged: dict[str, str] = {"kv!@first": "x"}
    said: Counter[str] = Counter()
    shown = ""
    until = monotonic() + 60
    value = "".join(chr(33 + n % 90) for n in range(64 * 1024))
    n = 0
    while said.total() < 3:
        assert monotonic() < until, "it takes whatever it is given"
        n += 1
        value = value[7:] + value[:7]  # nothing that a server could compress to nothing
        pair = [Put(f"kv!@{n}", value), Put(f"kv!@{n}!@copy", value)]
        try:
            await driver.apply(pair)
            acknowledged |= {pair[0].key: value, pair[1].key: value}
        except (UnavailableError, OutcomeUnknownError) as error:
            said[type(error).__name__] += 1
            shown = shown or str(error)
            acknowledged.pop(f"kv!@{n}", None)
    assert len(shown) > 40, "it says what to do"
    filler.unlink()
    restarted = False
    started = monotonic()
    while True:
        try:
            await driver.apply([Put("kv!@last", "x")])
            break
        except UnavailableError:
            if monotonic() > started + 5 and not restarted:  # it gave up, and somebody has to start it again
                restarted = True
                await asyncio.to_thread(site.server.kill)
                await asyncio.to_thread(site.server.start)
            assert monotonic() < started + 30
            await asyncio.sleep(0.1)
    for key, wanted in acknowledged.items():
        (item,) = await driver.get([key])
        assert item is not None, f"{key} was acknowledged"
        assert item.value == wanted
    for last in range(1, n + 1):
        first, copy = await driver.get([f"kv!@{last}", f"kv!@{last}!@copy"], values=False)
        assert (first is None) == (copy is None), "half of a batch"
    errors = ", ".join(f"`{name}`" for name in sorted(said))
    happened(
        f"{errors}; with room again {'and the server started again ' if restarted else ''}it writes; all acknowledged there"
    )
