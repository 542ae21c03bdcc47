"""Watchers of a storage: notified of this process's writes directly, and of others' by the driver's watch."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeAlias

from ..._errors import ClosedError, ForkedError, LimpetError
from ...driver import split, text_of
from ._mounts import Mount, Mounts
from ._paths import Path, join, key_of
from ._plain import read

__all__ = ["Callback", "Event", "Unwatch", "Watchers", "call_back"]

_logger = logging.getLogger("limpet")

Event: TypeAlias = Literal["update", "remove"]
Callback: TypeAlias = Callable[[Event, str], Awaitable[None] | None]
Unwatch: TypeAlias = Callable[[], Awaitable[None]]


_MOST = 1000
"""Changes that are kept for a slow callback, the latest of each key; beyond this, the oldest are dropped."""


class _Watcher:
    """A callback, called for one change at a time.

    If a key changes again before its turn, only the last change counts.
    """

    def __init__(self, callback: Callback, path: Path, view: Path) -> None:
        """Changes at and below `path` are reported, with keys that omit the prefix `view`."""
        self.callback = callback
        self.path = path
        self.view = view
        self._pending: dict[str, Event] = {}
        self.task: asyncio.Task[None] | None = None
        self._dropped = 0

    def report(self, event: Event, path: Path) -> None:
        key = join(path[len(self.view) :])
        self._pending.pop(key, None)
        self._pending[key] = event
        if len(self._pending) > _MOST:
            del self._pending[next(iter(self._pending))]
            self._dropped += 1
        if self.task is None:
            self.task = asyncio.create_task(self._call_all())

    async def _call_all(self) -> None:
        try:
            while self._pending:
                key = next(iter(self._pending))
                await call_back(self.callback, self._pending.pop(key), key)
        finally:
            self.task = None
            if self._dropped:
                _logger.warning(
                    "a watch of %r is too slow: %d changes were not reported", join(self.path), self._dropped
                )
                self._dropped = 0


class Watchers:
    """The watches of one storage, shared by its prefix views."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts
        self._watchers: list[_Watcher] = []
        self._tasks: dict[Path, asyncio.Task[None]] = {}
        self._listening: set[asyncio.Task[None]] = set()

    async def add(self, callback: Callback, path: Path, view: Path) -> Unwatch:
        """Start a watch; return a function that ends it."""
        watcher = _Watcher(callback, path, view)
        self._watchers.append(watcher)
        await asyncio.gather(*(self._listen(mount) for mount in self._mounts.below(path)))

        async def unwatch() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
            await self._settle([watcher])

        return unwatch

    async def remove(self, view: Path) -> None:
        """End every watch at or below a prefix."""
        ended = [watcher for watcher in self._watchers if watcher.path[: len(view)] == view]
        self._watchers = [watcher for watcher in self._watchers if watcher not in ended]
        await self._settle(ended)

    def want(self, mount: Mount) -> bool:
        """Return whether this process must report its own writes on a mount, and someone is watching."""
        return not mount.driver.capabilities.watch and any(self._reaches(watcher, mount) for watcher in self._watchers)

    def wrote(self, mount: Mount, event: Event, path: Path) -> None:
        """Report a write of this process, unless the driver's own watch will."""
        if self._watchers and not mount.driver.capabilities.watch:
            self._notify(event, path)

    def mounted(self, mount: Mount) -> None:
        """Watch a new mount, if someone watches above it."""
        if any(self._reaches(watcher, mount) for watcher in self._watchers):
            task = asyncio.create_task(self._listen(mount))
            self._listening.add(task)
            task.add_done_callback(self._listening.discard)

    async def unmounted(self, base: Path) -> None:
        """Stop watching a mount that is about to be closed."""
        task = self._tasks.pop(base, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _reaches(self, watcher: _Watcher, mount: Mount) -> bool:
        shared = min(len(watcher.path), len(mount.base))
        return watcher.path[:shared] == mount.base[:shared]

    async def _listen(self, mount: Mount) -> None:
        if not mount.driver.capabilities.watch or mount.base in self._tasks:
            return
        live = asyncio.Event()
        subscription = self._tasks[mount.base] = asyncio.create_task(self._receive(mount, live))
        waiting = asyncio.create_task(live.wait())
        await asyncio.wait({subscription, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if subscription.done():  # it only ends with an error, or with the driver
            del self._tasks[mount.base]
            await subscription

    async def _receive(self, mount: Mount, live: asyncio.Event) -> None:
        async for changed in mount.driver.watch(key_of(())):
            live.set()
            keys = sorted(changed or ())
            try:
                found = await mount.driver.get(keys)
            except (ClosedError, ForkedError):
                raise
            except LimpetError as error:  # the next notification may succeed
                _logger.warning("what a notification was about could not be read: %s", error)
                continue
            for key, item in zip(keys, found, strict=True):
                try:
                    path = read(item).path if item is not None else _path_of(key)
                except LimpetError as error:
                    _logger.warning("a notification about %r, which is not an item of a storage: %s", key, error)
                    continue
                if item is not None:
                    self._notify("update", (*mount.base, *path))
                elif '"' not in key:  # the text of a deleted, digested key is unknown
                    self._notify("remove", (*mount.base, *path))

    def _notify(self, event: Event, path: Path) -> None:
        for watcher in self._watchers:
            if path[: len(watcher.path)] == watcher.path:
                watcher.report(event, path)

    async def _settle(self, ended: Iterable[_Watcher]) -> None:
        """Wait for the callbacks of ended watches, but not for one that ends its own."""
        running = {watcher.task for watcher in ended if watcher.task is not None} | self._listening
        running.discard(asyncio.current_task())
        if running:
            await asyncio.wait(running)
        if not self._watchers:
            for base in list(self._tasks):
                await self.unmounted(base)


async def call_back(callback: Callback, event: Event, key: str) -> None:
    """A callback's error is the application's: it affects neither the write that triggered it nor other watches."""
    try:
        result = callback(event, key)
        if inspect.isawaitable(result):
            await result
    except Exception as error:  # noqa: BLE001 - handed to the event loop's handler
        context = {"message": f"a watch of {key!r} raised", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)


def _path_of(key: str) -> Path:
    return tuple(text_of(segment) or "" for segment in split(key)[1:])
