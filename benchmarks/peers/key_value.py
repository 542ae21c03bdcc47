"""py-key-value-aio's PostgreSQL store."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

from key_value.aio.stores.postgresql import PostgreSQLStore

__all__ = ["put_many"]

VALUE = {"text": "x" * 1000}


async def put_many(url: str) -> Callable[[int], Awaitable[None]]:
    """Many at once, as it does it."""
    store = PostgreSQLStore(url=url)
    await store.setup()
    number = itertools.count()

    async def act(times: int) -> None:
        await store.put_many([f"key:{next(number)}" for _ in range(times)], [VALUE] * times, collection="bench")

    return act
