"""`writer.py URL N`: adds messages to one session, replaces a record and deletes one, and says each message that was acknowledged."""

from __future__ import annotations

import asyncio
import sys

from limpet import create_persistence


async def main(url: str, number: int) -> None:
    async with create_persistence(url) as persistence:
        store = persistence.kv(dict, "many")
        for n in range(25):
            message = await persistence.sessions.add_message("shared", {"subtype": "user", "content": f"{number} {n}"})
            print(message.id, flush=True)
            await store.set(f"k{100 + number}", {"n": n})
            await asyncio.sleep(0.02)
        await store.delete(f"k{number}")


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
