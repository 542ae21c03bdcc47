"""A process that claims an approval: `claimer.py URL ID TASKS HOLD`. It waits for a line before it begins.

Prints who won here, one name a line, and then `done`. With HOLD above 0 it keeps the claim for so many seconds, renewed.
"""

from __future__ import annotations

import asyncio
import os
import sys

from limpet import AlreadyClaimedError, Persistence, create_persistence


async def claim(persistence: Persistence, id: str, task: int, hold: float) -> str | None:
    name = f"{os.getpid()}.{task}"
    try:
        claim = await persistence.approvals.claim(id, by=name, decision="approve", lease=1.0)
    except AlreadyClaimedError:
        return None
    if hold:
        async with claim:
            print("holding", flush=True)
            await asyncio.sleep(hold)
    return name


async def main(url: str, id: str, tasks: int, hold: float) -> None:
    async with create_persistence(url) as persistence:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        won = await asyncio.gather(*(claim(persistence, id, task, hold) for task in range(tasks)))
        print(*(name for name in won if name), "done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
