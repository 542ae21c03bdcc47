"""Messages on Redis and PostgreSQL beside the stores that are made for them: alone, and from 64 tasks in 64 sessions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from limpet import create_persistence
from limpet.records import UserMessage
from limpet_conformance.servers import find

from .._measure import Comparison, Contender, compare
from ..peers.agentomatic import Agentomatic
from ..peers.openai_agents import OpenaiRedis, OpenaiSqlalchemy
from ..peers.raw_servers import CONNECTIONS
from .messages import TASKS, Add, alone_by, together_by
from .servers import place_on

__all__ = ["run"]

PEERS: dict[str, dict[str, Callable[[str], Any]]] = {
    "redis": {"openai-agents' RedisSession": lambda url: OpenaiRedis(url, CONNECTIONS)},
    "postgresql": {
        "openai-agents' SQLAlchemySession": lambda url: OpenaiSqlalchemy(_for_sqlalchemy(url), CONNECTIONS),
        "agentomatic": lambda url: Agentomatic.on_postgresql(_for_sqlalchemy(url), CONNECTIONS),
    },
}
ALONE = {"redis": 1.0, "postgresql": 2.0}


async def run(folder: Path) -> list[Comparison]:
    found = []
    for kind in PEERS:
        server = find(kind)
        try:
            found += await _messages(kind, server.url)
        finally:
            server.end()
    return found


async def _messages(kind: str, url: str) -> list[Comparison]:
    peers = {name: make(url) for name, make in PEERS[kind].items()}
    async with create_persistence(place_on(kind, url)) as persistence:
        for peer in peers.values():
            if isinstance(peer, Agentomatic):
                await peer.open()
        for n in range(TASKS):
            await persistence.sessions.save_session({"sessionId": f"s{n}"})
            for peer in peers.values():
                await peer.create(f"s{n}")

        async def ours(conversation: str, content: str) -> None:
            await persistence.sessions.add_message(conversation, UserMessage(content=content))

        everybody: dict[str, Add] = {"limpet": ours, **{name: peer.add for name, peer in peers.items()}}
        alone = [Contender(name, alone_by(add)) for name, add in everybody.items()]
        together = [Contender(name, together_by(add)) for name, add in everybody.items()]
        found = [
            await compare(f"{kind}: add a message, alone", alone, times=150, bars=dict.fromkeys(peers, ALONE[kind])),
            await compare(
                f"{kind}: add a message, from 64 tasks", together, times=640, rounds=5, bars=dict.fromkeys(peers, 10.0)
            ),
        ]
    for peer in peers.values():
        await peer.close()
    return found


def _for_sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://")
