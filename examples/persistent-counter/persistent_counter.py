"""The persistent counter of Naylence's guide, on Limpet: it counts, is killed, and goes on where it was."""

from __future__ import annotations

import argparse
import asyncio

from limpet import create_persistence
from limpet.state import BaseAgentState, StatefulAgent


class CounterState(BaseAgentState):
    value: int = 0


class PersistentCounter(StatefulAgent[CounterState]):
    async def increment(self) -> CounterState:
        async with self.state as state:
            state.value += 1
        return state

    async def get_value(self) -> int:
        return (await self.get_state()).value


async def count(url: str | None, every: float) -> None:
    async with create_persistence(url) as persistence:
        counter = PersistentCounter(persistence=persistence, name="counter")
        print("Previous state:", (await counter.get_state()).model_dump_json(), flush=True)
        while True:
            print("Updated state:", (await counter.increment()).model_dump_json(), flush=True)
            await asyncio.sleep(every)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count until you are stopped, and go on where you were.")
    parser.add_argument("url", nargs="?", help="where the state is kept (default: SQLite in your data folder)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two steps")
    arguments = parser.parse_args()
    asyncio.run(count(arguments.url, arguments.every))


if __name__ == "__main__":
    main()
