"""A synchronous `get` of 1 KB on SQLite and Redis, beside the asynchronous one and the bare synchronous clients."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from limpet import Storage, create_storage, open_storage, sync
from limpet_conformance.servers import find

from .._measure import SERVERS_SEEN, Comparison, Contender, compare
from .servers import place_on

__all__ = ["run"]

VALUE = {"text": "x" * 1000}
KEYS = 200
THREADS = 32


async def run(folder: Path) -> list[Comparison]:
    found = []
    path = (folder / "plain.db").as_posix()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE items (key TEXT PRIMARY KEY, value TEXT)")
        rows = [(f"get:{n}", json.dumps(VALUE)) for n in range(KEYS)]
        database.executemany("INSERT INTO items VALUES (?, ?)", rows)
    plain = sqlite3.connect(path)

    def from_sqlite(key: str) -> Any:
        return json.loads(plain.execute("SELECT value FROM items WHERE key = ?", (key,)).fetchone()[0])

    found += await _compared("sqlite", f"sqlite:///{(folder / 'sync.db').as_posix()}", "sqlite3", from_sqlite, {})
    plain.close()
    server = find("redis")
    try:
        import redis

        client = redis.Redis.from_url(server.url)
        for n in range(KEYS):
            client.set(f"get:{n}", json.dumps(VALUE))
        SERVERS_SEEN["redis"] = str(client.info("server")["redis_version"])

        def from_redis(key: str) -> Any:
            return json.loads(client.get(key) or "null")

        found += await _compared("redis", place_on("redis", server.url), "redis-py", from_redis, {"redis-py": 0.5})
        client.close()
    finally:
        server.end()
    return found


async def _compared(
    title: str, url: str, name: str, bare: Callable[[str], Any], bars: dict[str, float]
) -> list[Comparison]:
    anywhere = open_storage(url)
    async with create_storage(url) as storage:
        with sync.create_storage(url) as synchronous:
            for n in range(KEYS):
                synchronous.set_item(f"get:{n}", VALUE)
            gets = [
                Contender("limpet", _blocking(synchronous.get_item)),
                Contender("limpet, asynchronous", _awaiting(storage)),
                Contender("limpet, from any loop", _awaiting(anywhere)),
                Contender(name, _blocking(bare)),
            ]
            one = await compare(f"{title}: synchronous get of 1 KB", gets, times=1000, rounds=9, bars=bars)
            with ThreadPoolExecutor(THREADS) as threads:
                number = iter(range(1_000_000_000))

                async def at_once(times: int) -> None:
                    def write(_: int) -> None:
                        for _ in range(times // THREADS):
                            synchronous.set_item(f"set:{next(number)}", VALUE)

                    await asyncio.to_thread(lambda: list(threads.map(write, range(THREADS))))

                async def alone(times: int) -> None:
                    for _ in range(times):
                        synchronous.set_item(f"set:{next(number)}", VALUE)

                sets = [Contender("limpet", at_once), Contender("limpet, one thread", alone)]
                many = await compare(f"{title}: synchronous sets from {THREADS} threads", sets, times=640, rounds=5)
    await anywhere.aclose()
    return [one, many]


def _blocking(get: Callable[[str], Any]) -> Callable[[int], Awaitable[None]]:
    async def act(times: int) -> None:
        for n in range(times):
            get(f"get:{n % KEYS}")

    return act


def _awaiting(storage: Storage) -> Callable[[int], Awaitable[None]]:
    async def act(times: int) -> None:
        for n in range(times):
            await storage.get_item(f"get:{n % KEYS}")

    return act
