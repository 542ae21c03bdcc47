"""A program for `test_kills`: for each line it reads it starts a process that writes rounds until it is killed.

Round n puts n at `left` and at `right`, an entry of its own, and deletes the entry before the last; sometimes several
rounds travel together. What was acknowledged is appended to the file `acks`. Forked, because starting Python 200
times takes longer than the kills.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from limpet.driver import Delete, Put, Write
from limpet_drivers.sqlite import SqliteDriver


def round_of(n: int, size: int) -> list[Write]:
    batch: list[Write] = [Put("kv!@left", str(n)), Put("kv!@right", str(n))]
    batch += [Put(f"kv!@entry!@{n}", "x" * size), Delete(f"kv!@entry!@{n - 2}")]
    return batch


async def write(path: Path, seed: int) -> None:
    random = Random(seed)
    acks = os.open(path.parent / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    driver = SqliteDriver(path)
    await driver.open()
    (left,) = await driver.get(["kv!@left"])
    n = 0 if left is None else int(str(left.value))
    while True:
        rounds = random.choice([1, 1, 1, 5])
        batches = [round_of(n + k, random.choice([1, 1000, 50_000])) for k in range(1, rounds + 1)]
        assert await driver.commit(batches) == [None] * rounds
        n += rounds
        os.write(acks, b"%d\n" % n)


def main() -> None:
    path = Path(sys.argv[1])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(write(path, int(line)))
        print(child, flush=True)
        os.waitpid(child, 0)


main()
