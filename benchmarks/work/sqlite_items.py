"""Plain values of 1 KB on SQLite, durable, beside bare aiosqlite."""

from __future__ import annotations

import asyncio
from pathlib import Path

from limpet import create_storage

from .._measure import Comparison, Contender, compare
from ..peers.raw_sqlite import RawSqlite

__all__ = ["run"]

VALUE = {"text": "x" * 1000}
RAW = "aiosqlite"


async def run(folder: Path) -> list[Comparison]:
    raw = RawSqlite(folder / "raw.db")
    await raw.open()
    number = 0

    def fresh() -> str:
        nonlocal number
        number += 1
        return f"key:{number}"

    async with create_storage(f"sqlite:///{folder.as_posix()}/ours.db") as storage:
        for n in range(1000):
            await storage.set_item(f"get:{n}", VALUE)
            await raw.set(f"get:{n}", VALUE)

        async def our_get(times: int) -> None:
            for n in range(times):
                await storage.get_item(f"get:{n % 1000}")

        async def their_get(times: int) -> None:
            for n in range(times):
                await raw.get(f"get:{n % 1000}")

        async def our_set(times: int) -> None:
            for _ in range(times):
                await storage.set_item(fresh(), VALUE)

        async def their_set(times: int) -> None:
            for _ in range(times):
                await raw.set(fresh(), VALUE)

        async def our_burst(times: int) -> None:
            for _ in range(times // 1000):
                await asyncio.gather(*(storage.set_item(fresh(), VALUE) for _ in range(1000)))

        found = [
            await compare(
                "sqlite: get of 1 KB",
                [Contender("limpet", our_get), Contender(RAW, their_get)],
                times=2000,
                bars={RAW: 0.6},
            ),
            await compare(
                "sqlite: durable set of 1 KB",
                [Contender("limpet", our_set), Contender(RAW, their_set)],
                times=500,
                bars={RAW: 0.8},
            ),
            await compare(
                "sqlite: 1,000 concurrent durable sets beside as many in sequence",
                [Contender("limpet", our_burst), Contender(RAW, their_set)],
                times=1000,
                bars={RAW: 1.0},
            ),
        ]
    await raw.close()
    return found
