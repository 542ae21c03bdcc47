"""Wrong about watching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import ClassVar

from limpet.driver import Key
from limpet_conformance.sections.watching import Watching
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


@caught_by(Watching)
class NoFirstNone(SharedMemoryDriver):
    """Nothing says that the watch is live; the first thing is an empty hint."""

    async def _watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None]:
        async for hint in super()._watch(base):
            yield frozenset() if hint is None else hint


@caught_by(Watching)
class LiveOnlyAfterTheFirstWait(SharedMemoryDriver):
    """`None` comes before anything listens: what is written until the next wait is slept through."""

    async def _watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None]:
        hints = super()._watch(base)
        yield None
        await anext(hints)
        async for hint in hints:
            yield hint


@caught_by(Watching)
class LostWakeUp(SharedMemoryDriver):
    """A hint reaches whoever waits at that moment, and nobody else."""

    async def _watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None]:
        mine: tuple[Key, asyncio.Queue[frozenset[Key] | None]] = (base, asyncio.Queue())
        self.place.watchers.append(mine)
        try:
            yield None
            while True:
                while not mine[1].empty():
                    mine[1].get_nowait()
                yield await mine[1].get()
        finally:
            self.place.watchers.remove(mine)


@caught_by(Watching)
class DeletesAreNotHinted(SharedMemoryDriver):
    """Only what is there afterwards is named."""

    def hint(self, keys: Iterable[Key]) -> None:
        super().hint([key for key in keys if key in self.place.records])


@caught_by(Watching)
class OneKeyABatch(SharedMemoryDriver):
    """Of a batch or a group only one key is named."""

    def hint(self, keys: Iterable[Key]) -> None:
        super().hint(list(keys)[:1])


@caught_by(Watching)
class NamesWhatBeginsAlike(SharedMemoryDriver):
    """A watch of `a` names `ab`."""

    def hint(self, keys: Iterable[Key]) -> None:
        for base, hints in self.place.watchers:
            seen = frozenset(key for key in keys if key.startswith(base))
            if seen:
                hints.put_nowait(seen)


@caught_by(Watching)
class WatchersCompete(SharedMemoryDriver):
    """Each hint goes to one watcher."""

    def hint(self, keys: Iterable[Key]) -> None:
        watchers = self.place.watchers
        self.place.watchers = watchers[:1]
        super().hint(keys)
        self.place.watchers = watchers


@caught_by(Watching)
class OneWhoLeavesTakesAll(SharedMemoryDriver):
    """Ending one watch ends the subscription of all that watch the same base."""

    deaf: ClassVar[set[tuple[str, Key]]] = set()

    async def _watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None]:
        try:
            async for hint in super()._watch(base):
                yield hint
        finally:
            self.deaf.add((self.name, base))

    def hint(self, keys: Iterable[Key]) -> None:
        watchers = self.place.watchers
        self.place.watchers = [watcher for watcher in watchers if (self.name, watcher[0]) not in self.deaf]
        super().hint(keys)
        self.place.watchers = watchers


@caught_by(Watching)
class WaitsOnAfterClose(SharedMemoryDriver):
    """Closing the driver does not end its watches."""

    async def _close(self) -> None:
        pass


@caught_by(Watching)
class AnyBaseWillDo(SharedMemoryDriver):
    """A base that is no key is watched for ever in vain."""

    def watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
        return super().watch(base if base == base.lower() else "")
