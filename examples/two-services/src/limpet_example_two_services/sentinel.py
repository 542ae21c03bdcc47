"""The sentinel: a record for each route that it was ever told of."""

from __future__ import annotations

import asyncio
import sys

from limpet import create_persistence_from_env
from pydantic import BaseModel


class Route(BaseModel):
    address: str


async def main(name: str, address: str) -> None:
    async with create_persistence_from_env() as persistence:
        routes = persistence.kv(Route, "routes")
        await routes.set(name, Route(address=address))
        print("Routes:", ", ".join(dict(await routes.list())))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
