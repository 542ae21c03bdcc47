"""The agent: a state that it changes once each time it is started."""

from __future__ import annotations

import asyncio
import sys

from limpet import create_persistence_from_env
from limpet.state import BaseAgentState, StatefulAgent


class State(BaseAgentState):
    starts: int = 0
    note: str | None = None


class Agent(StatefulAgent[State]):
    async def start(self, note: str) -> None:
        print("Previous state:", (await self.get_state()).model_dump_json())
        async with self.state as state:
            state.starts += 1
            state.note = note
        print("Updated state:", (await self.get_state()).model_dump_json())


async def main(note: str) -> None:
    async with create_persistence_from_env() as persistence:
        await Agent(persistence=persistence).start(note)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
