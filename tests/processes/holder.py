"""A process that is to be killed while it holds a state: `holder.py URL`."""

from __future__ import annotations

import asyncio
import sys

from limpet import create_persistence


async def main(url: str) -> None:
    async with create_persistence(url) as persistence, persistence.state(dict, "held", lease=1.0) as state:
        state["saved"] = False
        print("holding", flush=True)
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
