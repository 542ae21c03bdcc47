"""A program for `test_kills`: for each line it reads it starts a process that writes rounds until it is killed.

Round n puts n at `left` and at `right`, an entry of its own, and deletes the entry before the last. What was
acknowledged is appended to the file `acks`. Forked, because starting Python 200 times takes longer than the kills.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from limpet.driver import Delete, Put, Write
from limpet_drivers.fs import FsDriver, _checkpoint


async def write(base: Path, seed: int) -> None:
    random = Random(seed)
    vars(_checkpoint)["_LONGEST"] = 3000  # so that checkpoints are killed too
    vars(_checkpoint)["_DELAY"] = 0.01
    acks = os.open(base.parent / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    driver = FsDriver(base)
    await driver.open()
    (left,) = await driver.get(["kv!@left"])
    n = 0 if left is None else int(str(left.value))
    while True:
        n += 1
        value = random.choice([str(n), f"{n}\n"])  # a .json file, or a .txt file in its place
        batch: list[Write] = [Put("kv!@left", value), Put("kv!@right", value)]
        batch += [
            Put(f"kv!@entry{n % 3}!@{n}", "x" * random.choice([1, 100, 5000])),
            Delete(f"kv!@entry{(n - 2) % 3}!@{n - 2}"),
        ]
        await driver.apply(batch)
        os.write(acks, b"%d\n" % n)
        if random.random() < 0.05:
            await asyncio.sleep(0.012)


def main() -> None:
    base = Path(sys.argv[1])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(write(base, int(line)))
        print(child, flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
