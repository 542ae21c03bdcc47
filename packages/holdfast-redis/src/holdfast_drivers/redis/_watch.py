"""Hints by pub/sub: the scripts tell a channel of every change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from random import uniform
from typing import Any

from holdfast import ClosedError
from holdfast.driver import Key, below

from ._client import Client
from ._errors import CLIENT_ERRORS
from ._layout import Names

__all__ = ["hints"]

_SLOWEST = 5.0
"""Seconds between two attempts to connect again, at most."""


async def hints(client: Client, names: Names, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
    """`None` once live and after every reconnect, then the keys below `base` of each round that was written."""
    low, high = below(base)
    attempt = 0
    while True:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        try:
            async with client.listening(names.channel, heard):
                while (message := await heard.get()) is not None:
                    attempt = 0
                    if message["type"] == "subscribe":
                        yield None
                    elif message["type"] == "message":
                        said = message["data"].decode()
                        keys = frozenset(key for key in said.split("\n") if low <= key and (high is None or key < high))
                        if not said:
                            yield None  # more keys than one message should hold
                        elif keys:
                            yield keys
        except CLIENT_ERRORS:
            attempt += 1
        if client.closed:
            raise ClosedError("the driver was closed: the watch ends")
        await asyncio.sleep(uniform(0.5, 1.0) * min(_SLOWEST, 0.05 * 2 ** min(attempt, 8)))
