"""A server further away: `python -m benchmarks.slow_network URL SECONDS` prints the URL that is so much slower, one way."""

from __future__ import annotations

import asyncio
import sys

from limpet_conformance.servers import Proxy


async def main(url: str, delay: float) -> None:
    async with Proxy(url, delay=delay) as proxy:
        print(proxy.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
