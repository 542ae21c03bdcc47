"""One process of a crowd: `crowd.py URL WORK TASKS TIMES SKEW`. It waits for a line before it begins, and prints what it saw as JSON.

SKEW is by how many seconds its wall clock is wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from time import monotonic
from uuid import uuid4

from limpet import Persistence, create_persistence
from limpet.driver import Delete, If, Put
from limpet.records import UserMessage
from limpet.structures import Lease
from limpet_conformance.faults import skewed

Unit = Callable[[Persistence, int, int], Awaitable[list[object]]]
"""With the task's number and how many times; answers what the test wants to know of each time."""


async def increment(persistence: Persistence, task: int, times: int) -> list[object]:
    store = persistence.kv(int, "crowd")
    return [await store.update("counter", lambda count: count + 1) for _ in range(times)]


async def converse(persistence: Persistence, task: int, times: int) -> list[object]:
    said: list[object] = []
    for n in range(times):
        content = f"{uuid4().hex} {task} {n}"
        message = await persistence.sessions.add_message("crowd", UserMessage(content=content))
        said.append([message.seq, content])
    return said


async def hold(persistence: Persistence, task: int, times: int) -> list[object]:
    lease = Lease(persistence.driver, "crowd!@lease")
    tokens: list[object] = []
    for _ in range(times):
        async with lease.hold(ttl=30) as handle:
            mark = Put("crowd!@inside", str(handle.token), If.ABSENT)
            await persistence.driver.apply([handle.check, mark])  # a second holder would be in its way
            await asyncio.sleep(0)
            await persistence.driver.apply([handle.check, Delete("crowd!@inside", mark.etag)])
            tokens.append(handle.token)
    return tokens


async def fork(persistence: Persistence, task: int, times: int) -> list[object]:
    threads = persistence.threads
    seen: list[object] = []
    for _ in range(times):
        said = await threads.add_message("crowd", "user", task)
        made = await threads.fork("crowd")
        own = await threads.add_message(made.id, "user", "mine")
        seen.append([made.id, said.seq, made.message_count, own.seq, task % 2 == 0])
        if task % 2:
            await threads.delete(made.id)
    return seen


WORK: dict[str, Unit] = {"increment": increment, "converse": converse, "fork": fork, "hold": hold}


async def main(url: str, units: str, tasks: int, times: int) -> None:
    async with create_persistence(url) as persistence:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        worst = 0.0

        async def one(task: int) -> list[object]:
            nonlocal worst
            seen = []
            for _ in range(times):
                started = monotonic()
                seen += await WORK[units](persistence, task, 1)
                worst = max(worst, monotonic() - started)
            return seen

        seen = await asyncio.gather(*(one(task) for task in range(tasks)))
    print(json.dumps({"worst": worst, "seen": [part for parts in seen for part in parts]}), flush=True)


if __name__ == "__main__":
    skew = float(sys.argv[5])
    with skewed(skew) if skew else nullcontext():
        asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
