"""A blob of 100 MB on every driver that keeps it outside of the process: what memory it takes, and how fast it goes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from limpet import create_persistence
from limpet_conformance.servers import NotTestedError, find

from .._measure import Comparison
from .servers import KINDS, PLACE

__all__ = ["run"]

MB = 100
WARM_MB = 16
AT_MOST_MB = 32.0


async def run(folder: Path) -> list[Comparison]:
    places = {"sqlite": f"sqlite:///{(folder / 'blobs.db').as_posix()}", "fs": f"fs://{(folder / 'blobs').as_posix()}"}
    found = [_measured(kind, url) for kind, url in places.items()]
    for kind in KINDS:
        try:
            server = find(kind)
        except NotTestedError as error:
            print(f"{kind} was not measured: {error}", file=sys.stderr)
            continue
        try:
            url = f"{server.url}{'&' if '?' in server.url else '?'}{PLACE[kind]}=limpet_blobs"
            found.append(_measured(kind, url))
        finally:
            server.end()
    return found


def _measured(kind: str, url: str) -> Comparison:
    # In a process of its own: what one driver has taken is no longer there for the next to use.
    command = [sys.executable, "-m", "benchmarks.work.blobs", url]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    title = f"{kind}: MB of memory for a blob of {MB} MB (in {told['put']:.0f} MB/s, out {told['read']:.0f} MB/s)"
    grown = max(told["grown"], 0.1)
    rates = {"limpet": grown, "at most": AT_MOST_MB}
    return Comparison(title, "MB", rates, {"at most": AT_MOST_MB / grown}, {"at most": 1.0})


def _peak_mb() -> float:
    # Not `ru_maxrss`: on Linux that begins at what the process had that started this one.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def _content(mb: int) -> Iterator[bytes]:
    for _ in range(mb):
        yield os.urandom(1_000_000)


async def _put_and_read(url: str) -> dict[str, float]:
    async with create_persistence(url) as persistence:

        async def there_and_back(mb: int) -> tuple[float, float]:
            started = time.perf_counter()
            blob = await persistence.blobs.create(_content(mb))
            put = time.perf_counter()
            read = sum([len(piece) async for piece in persistence.blobs.read(blob.id)])
            assert read == blob.size == mb * 1_000_000
            return mb / (put - started), mb / (time.perf_counter() - put)

        await there_and_back(WARM_MB)
        before = _peak_mb()
        put, read = await there_and_back(MB)
        return {"grown": _peak_mb() - before, "put": put, "read": read}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_put_and_read(sys.argv[1]))))
