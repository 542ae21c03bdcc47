"""Watching a server: notifications from a listening connection, which is reopened whenever it ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from random import uniform

from ..._errors import ClosedError, ConfigurationError, InvalidKeyError, LimpetError
from .._keys import check_key
from .._types import Key
from ._forks import check_process
from ._paging import below

__all__ = ["Subscription", "notifications"]

_MOST = 32 * 1024 * 1024
"""Maximum characters of keys that are kept for a slow consumer; beyond this, they are replaced by "look again"."""
_SLOWEST = 5.0
"""Maximum seconds between two attempts to reconnect."""


class Subscription:
    """The changed keys of a watch, each once, until someone takes them. If there are too many, it forgets which."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._length = 0
        self._look_again = False
        self._ended = False
        self._told = asyncio.Event()

    def push(self, keys: str | Sequence[str]) -> None:
        """Add changed keys, one per line if given as text. None at all means "look again"."""
        told = (keys.split("\n") if keys else []) if isinstance(keys, str) else keys
        self._look_again |= not told
        for key in told:
            if key not in self._keys:
                self._keys.add(key)
                self._length += len(key)
        if self._length > _MOST:
            self._keys.clear()
            self._length = 0
            self._look_again = True
        self._told.set()

    def end(self) -> None:
        """Note that the connection is over."""
        self._ended = True
        self._told.set()

    async def next(self) -> frozenset[str] | None:
        """Return all keys since the last call; an empty set for "look again", `None` at the end."""
        await self._told.wait()
        if not self._keys and not self._look_again:
            return None
        keys = frozenset(self._keys)
        if keys:
            self._keys.clear()
            self._length = 0
        else:
            self._look_again = False
        if not self._look_again and not self._ended:
            self._told.clear()
        return keys


async def notifications(
    listen: Callable[[Subscription], AbstractAsyncContextManager[None]],
    base: Key,
    *,
    errors: tuple[type[Exception], ...],
    translate: Callable[[Exception], LimpetError],
    closed: Callable[[], bool],
) -> AsyncGenerator[frozenset[Key] | None, None]:
    """Iterate for `watch`: `None` once live and after every reconnect, then the changed keys below `base`.

    `listen` connects, and pushes what it receives to a `Subscription` during its block; `errors` are the client's,
    and `translate` converts them. Raises `ClosedError` once `closed` says that the driver was closed, and
    `ConfigurationError` if it cannot start, for example without permission; after it was live, it keeps trying.
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
                    keys, foreign = _keys_between(told, low, high)
                    if keys:
                        yield keys
                    if foreign or not told:  # anybody can send on a channel, so look again
                        yield None
        except errors as error:
            ours = error if isinstance(error, LimpetError) else translate(error)
            if isinstance(ours, ConfigurationError) and not live:
                raise ours from error
            attempt += 1
        if closed():
            raise ClosedError("the watch ends because the driver was closed")
        await asyncio.sleep(uniform(0.5, 1.0) * min(_SLOWEST, 0.05 * 2 ** min(attempt, 8)))


def _keys_between(told: Iterable[str], low: Key, high: Key | None) -> tuple[frozenset[Key], bool]:
    """Return the keys from `low` (inclusive) to `high` (exclusive), and whether something there is not a key."""
    keys = set()
    foreign = False
    for said in told:
        if low <= said and (high is None or said < high):
            try:
                check_key(said)
                keys.add(said)
            except InvalidKeyError:
                foreign = True
    return frozenset(keys), foreign
