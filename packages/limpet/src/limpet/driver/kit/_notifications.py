"""Watching a server: notifications from a listening connection, which is reopened whenever it ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from random import uniform

from ..._errors import ClosedError, ConfigurationError, InvalidKeyError, LimpetError
from .._keys import check_key
from .._types import Key
from ._forks import check_process
from ._paging import below

__all__ = ["Subscription", "notifications"]

_MOST = 1000
"""Messages kept for a consumer that is slow; beyond, all that is left of them is "look again"."""
_SLOWEST = 5.0
"""Seconds between two attempts to connect again, at most."""


class Subscription:
    """What a listening connection was told, until somebody takes it."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[str | None] = asyncio.Queue()

    def push(self, keys: str) -> None:
        """Keys that changed, a line each; an empty text for "look again"."""
        if self._heard.qsize() >= _MOST:
            while not self._heard.empty():
                self._heard.get_nowait()
            keys = ""
        self._heard.put_nowait(keys)

    def end(self) -> None:
        """The connection is over."""
        self._heard.put_nowait(None)

    async def next(self) -> str | None:
        """What was told first, `None` at the end."""
        return await self._heard.get()


async def notifications(
    listen: Callable[[Subscription], AbstractAsyncContextManager[None]],
    base: Key,
    *,
    errors: tuple[type[Exception], ...],
    translate: Callable[[Exception], LimpetError],
    closed: Callable[[], bool],
) -> AsyncGenerator[frozenset[Key] | None, None]:
    """What `watch` gives: `None` once live and after every reconnect, then the keys below `base` that changed.

    `listen` connects and tells a `Subscription` what it hears for as long as its block lasts; `errors` are the client's,
    and `translate` makes ours of them. Raises `ClosedError` once `closed` says that the driver was closed, and
    `ConfigurationError` where it can't begin for want of a right, say; once it was live it goes on trying.
    """
    low, high = below(base)
    attempt, live = 0, False
    process = os.getpid()
    while True:
        check_process(process, "the driver")
        subscription = Subscription()
        try:
            async with listen(subscription):
                attempt, live = 0, True
                yield None
                while (told := await subscription.next()) is not None:
                    keys = frozenset(key for key in told.split("\n") if low <= key and (high is None or key < high))
                    if not told or not _are_keys(keys):  # anybody may send on a channel: then look for yourself
                        yield None
                    elif keys:
                        yield keys
        except errors as error:
            ours = error if isinstance(error, LimpetError) else translate(error)
            if isinstance(ours, ConfigurationError) and not live:
                raise ours from error
            attempt += 1
        if closed():
            raise ClosedError("the watch ends because the driver was closed")
        await asyncio.sleep(uniform(0.5, 1.0) * min(_SLOWEST, 0.05 * 2 ** min(attempt, 8)))


def _are_keys(said: Iterable[str]) -> bool:
    try:
        for key in said:
            check_key(key)
    except InvalidKeyError:
        return False
    return True
