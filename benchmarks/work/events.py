"""Publish and deliver, from one publisher and from twenty on one channel: beside AgentX's design on SQLite, beside a bare stream on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from limpet.events import EventQueue, create_queue
from limpet_conformance.servers import find

from .._measure import Comparison, Contender, compare
from ..peers.agentx_queue import AgentxQueue
from ..peers.raw_servers import CONNECTIONS
from ..peers.redis_stream import RedisStream
from .servers import place_on

__all__ = ["run"]

PUBLISHERS = 20
EVENT = {"type": "text_delta", "data": {"text": "How do I get from Vienna to Trieste by train?"}}


class Queue(Protocol):
    """What the peers have, too."""

    async def publish(self, topic: str, event: object) -> object: ...

    async def subscribe(self, topic: str, handler: Callable[[], object]) -> object: ...

    async def close(self) -> None: ...


class Ours:
    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue
        self.close = queue.aclose

    async def publish(self, topic: str, event: object) -> object:
        return await self._queue.publish(topic, event)

    async def subscribe(self, topic: str, handler: Callable[[], object]) -> object:
        return await self._queue.subscribe(topic, lambda entry: handler())


async def run(folder: Path) -> list[Comparison]:
    found = await _side_by_side(
        "sqlite",
        {
            "limpet": await _ours(f"sqlite:///{folder.as_posix()}/events.db"),
            "AgentX's design": AgentxQueue(folder / "agentx.db", durable=False),
            "AgentX's design, durable": AgentxQueue(folder / "agentx-full.db", durable=True),
        },
        {"AgentX's design, durable": 1.0},
    )
    server = find("redis")
    try:
        found += await _side_by_side(
            "redis",
            {
                "limpet": await _ours(place_on("redis", server.url)),
                "a bare stream": RedisStream(server.url, CONNECTIONS),
            },
            {},
        )
    finally:
        server.end()
    return found


async def _ours(url: str) -> Queue:
    return Ours(await create_queue(url, prune_interval=None))


async def _side_by_side(kind: str, queues: dict[str, Queue], bars: dict[str, float]) -> list[Comparison]:
    alone, together = [], []
    for name, queue in queues.items():
        work = await _work(queue)
        alone.append(Contender(name, partial(work, 1)))
        together.append(Contender(name, partial(work, PUBLISHERS)))
    found = [
        await compare(f"{kind}: publish and deliver, alone", alone, times=100, rounds=5, bars=bars, unit="events/s"),
        await compare(
            f"{kind}: publish and deliver, {PUBLISHERS} publishers",
            together,
            times=PUBLISHERS * 50,
            rounds=5,
            bars=bars,
            unit="events/s",
        ),
    ]
    for queue in queues.values():
        await queue.close()
    return found


async def _work(queue: Queue) -> Callable[[int, int], Awaitable[None]]:
    """Publish so many times from so many tasks; it is over when the subscriber has them all."""
    delivered = asyncio.Semaphore(0)
    await queue.publish("channel", EVENT)
    await queue.subscribe("channel", delivered.release)

    async def work(publishers: int, times: int) -> None:
        async def one() -> None:
            for _ in range(times // publishers):
                await queue.publish("channel", EVENT)
                if publishers == 1:  # alone: there and back before the next one
                    await delivered.acquire()

        await asyncio.gather(*(one() for _ in range(publishers)))
        if publishers > 1:
            for _ in range(times):
                await delivered.acquire()

    return work
