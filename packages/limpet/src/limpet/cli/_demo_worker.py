"""The process that `limpet demo` kills: it prints how many messages have been acknowledged."""

from __future__ import annotations

import asyncio
import sys

from .. import create_persistence, create_storage
from ..records import AssistantMessage, UserMessage

__all__: list[str] = []


async def _talk(url: str, until: int) -> None:
    async with create_persistence(url) as persistence, create_storage(persistence.driver) as storage:
        start = await persistence.sessions.count_messages("demo")
        for n in range(start, until):
            said = (
                UserMessage(content=f"Is message {n} safe?")
                if n % 2 == 0
                else AssistantMessage(content=f"Message {n - 1} is.")
            )
            await persistence.sessions.add_message("demo", said, create=True)
            await storage.set_item("demo:counter", n + 1)
            print(n + 1, flush=True)


if __name__ == "__main__":
    asyncio.run(_talk(sys.argv[1], int(sys.argv[2])))
