"""Plain values in memory, beside py-key-value-aio's MemoryStore."""

from __future__ import annotations

from pathlib import Path

from key_value.aio.stores.memory import MemoryStore
from limpet import create_storage

from .._measure import Comparison, Contender, compare

__all__ = ["run"]

DOCUMENT = {f"field{n}": "value" * 2 for n in range(8)}


async def run(folder: Path) -> list[Comparison]:
    store = MemoryStore()
    async with create_storage("memory://") as storage:

        async def our_set(times: int) -> None:
            for _ in range(times):
                await storage.set_item("key", DOCUMENT)

        async def our_get(times: int) -> None:
            for _ in range(times):
                await storage.get_item("key")

        async def their_set(times: int) -> None:
            for _ in range(times):
                await store.put("key", DOCUMENT)

        async def their_get(times: int) -> None:
            for _ in range(times):
                await store.get("key")

        peer = "py-key-value-aio"
        return [
            await compare(
                "memory: set",
                [Contender("limpet", our_set), Contender(peer, their_set)],
                times=5000,
                bars={peer: 2.0},
            ),
            await compare(
                "memory: get",
                [Contender("limpet", our_get), Contender(peer, their_get)],
                times=5000,
                bars={peer: 2.0},
            ),
        ]
