"""A bare Redis stream: `XADD`, and `XREAD` that waits on a connection of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

__all__ = ["RedisStream"]


class RedisStream:
    """As durable as the server is set."""

    def __init__(self, url: str, connections: int) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis

        self._redis = Redis(
            connection_pool=BlockingConnectionPool.from_url(url, max_connections=connections, timeout=60)
        )
        self._reader = Redis.from_url(url)
        self._reading: asyncio.Task[None] | None = None

    async def publish(self, topic: str, event: object) -> None:
        await self._redis.xadd(f"stream:{topic}", {"event": json.dumps(event)})

    async def subscribe(self, topic: str, handler: Callable[[], object]) -> None:
        async def follow() -> None:
            last = "$"
            while True:
                read: Any = await self._reader.xread({f"stream:{topic}": last}, count=100, block=5000)
                for _, entries in read:
                    for id, fields in entries:
                        json.loads(fields[b"event"])
                        last = id
                        handler()

        self._reading = asyncio.create_task(follow())
        await asyncio.sleep(0.1)  # until it waits: "$" is where the stream ends then

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._reader.aclose()
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()
