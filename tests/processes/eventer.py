"""One process at a queue: `eventer.py URL publish NAME TASKS TIMES`, `… subscribe NAME TOTAL ACK_EVERY` or `… work VISIBILITY`.

It waits for a line before it begins, and prints what it saw as lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import monotonic

from limpet import Persistence, create_persistence

CHANNEL = "crowd"


def say(*words: object) -> None:
    print(json.dumps(words), flush=True)


async def publish(persistence: Persistence, name: str, tasks: int, times: int) -> None:
    async with persistence.events(prune_interval=None) as queue:

        async def one(task: int) -> None:
            for n in range(times):
                started = monotonic()
                cursor = await queue.publish(CHANNEL, f"{name} {task} {n}")
                say("published", cursor, f"{name} {task} {n}", monotonic() - started)

        await asyncio.gather(*(one(task) for task in range(tasks)))


async def subscribe(persistence: Persistence, name: str, total: int, ack_every: int) -> None:
    async with persistence.events(prune_interval=None, poll=0.1) as queue:
        async for event in queue.stream(CHANNEL, consumer=name):
            say("seen", event.cursor, event.event)
            if int(event.cursor) % ack_every == 0:
                await queue.ack(name, CHANNEL, event.cursor)
                say("acked", event.cursor)
            if int(event.cursor) == total - 1:
                return


async def work(persistence: Persistence, visibility: float) -> None:
    (job,) = await persistence.work(CHANNEL, lease=visibility).claim(wait=20)
    async with job:
        say("holding", job.id)
        await asyncio.sleep(60)


async def main(url: str, role: str, *words: str) -> None:
    async with create_persistence(url) as persistence:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        match role, words:
            case "publish", (name, tasks, times):
                await publish(persistence, name, int(tasks), int(times))
            case "subscribe", (name, total, ack_every):
                await subscribe(persistence, name, int(total), int(ack_every))
            case "work", (visibility,):
                await work(persistence, float(visibility))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
