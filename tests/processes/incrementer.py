"""A process that increments a counter's state: `incrementer.py URL TIMES`. It waits for a line before it begins."""

from __future__ import annotations

import asyncio
import sys
from time import monotonic

from limpet import create_persistence
from limpet.state import BaseAgentState, StatefulAgent


class CounterState(BaseAgentState):
    count: int = 0


class Counter(StatefulAgent[CounterState]):
    pass


async def main(url: str, times: int) -> None:
    async with create_persistence(url) as persistence:
        counter = Counter(persistence=persistence)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        worst = 0.0
        for _ in range(times):
            started = monotonic()
            async with counter.state as state:
                state.count += 1
            worst = max(worst, monotonic() - started)
        print(worst, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
