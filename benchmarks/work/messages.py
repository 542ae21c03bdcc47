"""Messages on SQLite, durable, beside openai-agents and Agentomatic: alone, and from 64 tasks in 64 sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from limpet import create_persistence
from limpet.records import UserMessage

from .._measure import Comparison, Contender, compare
from ..peers.agentomatic import Agentomatic
from ..peers.openai_agents import OpenaiAgents

__all__ = ["TASKS", "Add", "alone_by", "run", "together_by"]

TASKS = 64
TEXT = "How do I get from Vienna to Trieste by train?"

Add: TypeAlias = Callable[[str, str], Awaitable[object]]


async def run(folder: Path) -> list[Comparison]:
    openai = OpenaiAgents(folder / "openai.db")
    shipped = Agentomatic.on_sqlite(folder / "agentomatic.db", equal_durability=False)
    equal = Agentomatic.on_sqlite(folder / "agentomatic-wal.db", equal_durability=True)
    await shipped.open()
    await equal.open()
    async with create_persistence(f"sqlite:///{folder.as_posix()}/messages.db") as persistence:
        for n in range(TASKS):
            await persistence.sessions.save_session({"sessionId": f"s{n}"})
            for peer in (openai, shipped, equal):
                await peer.create(f"s{n}")

        async def ours(conversation: str, content: str) -> None:
            await persistence.sessions.add_message(conversation, UserMessage(content=content))

        everybody: dict[str, Add] = {
            "limpet": ours,
            "openai-agents": openai.add,
            "agentomatic": shipped.add,
            "agentomatic, WAL": equal.add,
        }
        alone = [Contender(name, alone_by(add)) for name, add in everybody.items()]
        together = [Contender(name, together_by(add)) for name, add in everybody.items()]
        peers = list(everybody)[1:]
        found = [
            await compare("messages: add, alone", alone, times=200, bars=dict.fromkeys(peers, 1.0)),
            await compare(
                "messages: add, from 64 tasks", together, times=640, rounds=5, bars=dict.fromkeys(peers, 8.0)
            ),
        ]
    for peer in (openai, shipped, equal):
        await peer.close()
    return found


def alone_by(add: Add) -> Callable[[int], Awaitable[None]]:
    async def work(times: int) -> None:
        for _ in range(times):
            await add("s0", TEXT)

    return work


def together_by(add: Add) -> Callable[[int], Awaitable[None]]:
    async def work(times: int) -> None:
        async def one(n: int) -> None:
            for _ in range(times // TASKS):
                await add(f"s{n}", TEXT)

        await asyncio.gather(*(one(n) for n in range(TASKS)))

    return work
