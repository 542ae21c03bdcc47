"""Plain values of 1 KB on each server beside its bare client, with and without a millisecond of network; and long lists."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

from limpet import Storage, create_storage
from limpet.driver import Put, Range
from limpet.opening import driver_from_url
from limpet_conformance.servers import find

from .._measure import SERVERS_SEEN, Comparison, Contender, compare
from ..peers.raw_servers import CONNECTIONS, RAW, Raw

__all__ = ["KINDS", "PLACE", "place_on", "run", "through"]

PLACE = {"redis": "base", "postgresql": "schema", "mysql": "table", "mariadb": "table", "mongodb": "collection"}
"""Each kind of server, and the option that makes a place of one's own on it."""
KINDS = tuple(PLACE)

VALUE = {"text": "x" * 1000}
FEW, MANY = 1_000, 1_000_000
_MILLISECOND = 0.001

Act: TypeAlias = Callable[[int], Awaitable[None]]


async def run(folder: Path, kinds: tuple[str, ...] = KINDS) -> list[Comparison]:
    found = []
    for kind in kinds:
        server = find(kind)
        try:
            found += await _items(kind, kind, server.url, server.url)
            with through(server.url) as slow:
                found += await _items(f"{kind}, 1 ms away", kind, slow, slow)
            if not server.origin.startswith("stand-in"):  # whose pages say nothing, and take it minutes
                found += await _pages(kind, server.url)
        finally:
            server.end()
    return found


def place_on(kind: str, url: str) -> str:
    """The URL of an empty place."""
    return f"{url}{'&' if '?' in url else '?'}{PLACE[kind]}=s{uuid4().hex[:20]}&pool_size={CONNECTIONS}"


@contextmanager
def through(url: str) -> Iterator[str]:
    """The server a millisecond away, by a proxy in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.slow_network", url, str(_MILLISECOND / 2)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        try:
            yield proxy.stdout.readline().strip()
        finally:
            proxy.kill()


@asynccontextmanager
async def _both(kind: str, url: str, raw_url: str) -> AsyncIterator[tuple[Storage, Raw]]:
    raw = RAW[kind]()
    await raw.open(raw_url)
    async with create_storage(place_on(kind, url)) as storage:
        health = await storage.driver.health()
        SERVERS_SEEN[health.server] = health.version
        yield storage, raw
    await raw.close()


async def _items(title: str, kind: str, url: str, raw_url: str) -> list[Comparison]:
    number = itertools.count()
    near = title == kind
    async with _both(kind, url, raw_url) as (storage, raw):
        for n in range(200):
            await storage.set_item(f"get:{n}", VALUE)
            await raw.set(f"get:{n}", VALUE)

        async def our_get(times: int) -> None:
            for n in range(times):
                await storage.get_item(f"get:{n % 200}")

        async def their_get(times: int) -> None:
            for n in range(times):
                await raw.get(f"get:{n % 200}")

        def each(write: Callable[[str, Any], Awaitable[object]]) -> Act:
            async def act(times: int) -> None:
                for _ in range(times):
                    await write(f"key:{next(number)}", VALUE)

            return act

        def at_once(write: Callable[[str, Any], Awaitable[object]]) -> Act:
            async def act(times: int) -> None:
                await asyncio.gather(*(write(f"key:{next(number)}", VALUE) for _ in range(times)))

            return act

        def in_bulk(write: Callable[[dict[str, Any]], Awaitable[object]]) -> Act:
            async def act(times: int) -> None:
                await write({f"key:{next(number)}": VALUE for _ in range(times)})

            return act

        bulk = [Contender("limpet", in_bulk(storage.set_items)), Contender(raw.name, in_bulk(raw.set_many))]
        bars = {raw.name: 0.5}
        if kind == "postgresql" and near:
            from ..peers.key_value import put_many

            bulk.append(Contender("py-key-value-aio", await put_many(raw_url)))
            bars["py-key-value-aio"] = 20.0
        times = 300 if near else 100
        return [
            await compare(
                f"{title}: get of 1 KB",
                [Contender("limpet", our_get), Contender(raw.name, their_get)],
                times=times,
                bars={raw.name: 0.7},
            ),
            await compare(
                f"{title}: set of 1 KB",
                [Contender("limpet", each(storage.set_item)), Contender(raw.name, each(raw.set))],
                times=times,
                bars={raw.name: 0.7},
            ),
            await compare(
                f"{title}: 1,000 concurrent sets",
                [Contender("limpet", at_once(storage.set_item)), Contender(raw.name, at_once(raw.set))],
                times=1000,
                bars={raw.name: 2.0 if kind == "redis" else 5.0},
            ),
            await compare(f"{title}: set_items of 1,000", bulk, times=1000, rounds=5, bars=bars),
        ]


async def _pages(kind: str, url: str) -> list[Comparison]:
    """Pages of 50 from the middle, through the driver: what is above it is the same for all."""
    contenders = []
    drivers = []
    for size in (MANY, FEW):
        driver = await driver_from_url(place_on(kind, url)).__aenter__()
        drivers.append(driver)
        numbers = iter(range(size))
        while part := list(itertools.islice(numbers, 4000)):
            await driver.commit([[Put(f"kv!@{n:07}", "x")] for n in part])

        async def pages(times: int, driver: Any = driver, size: int = size) -> None:
            for n in range(times):
                page = await driver.scan(Range("kv", after=f"kv!@{size // 2 + n % 100:07}", limit=50))
                assert len(page.items) == 50

        contenders.append(Contender(f"{size:,}", pages))
    title = f"{kind}: a page of 50"
    found = await compare(title, contenders, times=200, bars={f"{FEW:,}": 0.5}, unit="pages/s among so many")
    for driver in drivers:
        await driver.__aexit__(None, None, None)
    return [found]
