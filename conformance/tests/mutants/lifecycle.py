"""Wrong between open and close."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from limpet import UnavailableError
from limpet.driver import Delete, Health, Item, Key, Outcome, Range, Unit
from limpet_conformance.sections.lifecycle import Lifecycle
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


@caught_by(Lifecycle)
class OpensAnEmptyPlace(SharedMemoryDriver):
    """Opening once more begins with an empty place."""

    async def open(self) -> None:
        self.place.records.clear()
        await super().open()


@caught_by(Lifecycle)
class OpensTwiceAtOnce(SharedMemoryDriver):
    """Two openings at the same time get in each other's way."""

    opening = False

    async def _open(self) -> None:
        await asyncio.sleep(0)

    async def open(self) -> None:
        if self.opening:
            raise UnavailableError("already opening")
        self.opening = True
        await super().open()
        self.opening = False


@caught_by(Lifecycle)
class ClosesTwiceBadly(SharedMemoryDriver):
    """A second close fails."""

    async def close(self) -> None:
        if self._closed:
            raise UnavailableError("there is nothing to close")
        await super().close()


@caught_by(Lifecycle)
class OpensAgain(SharedMemoryDriver):
    """A closed driver can be opened again, half of it still closed."""

    async def open(self) -> None:
        if not self._closed:
            await super().open()


@caught_by(Lifecycle)
class WorksAfterClose(SharedMemoryDriver):
    """Nothing looks whether the driver was closed."""

    def _check(self) -> None:
        if self._owner is None:
            super()._check()


@caught_by(Lifecycle)
class WorksBeforeOpen(SharedMemoryDriver):
    """Opens itself when it is used."""

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        if self._owner is None:
            await self.open()
        return await super().get(keys, values=values)


@caught_by(Lifecycle)
class AnyLoopWillDo(SharedMemoryDriver):
    """Takes calls from any event loop."""

    def _check(self) -> None:
        if self._owner is not None and not self._closed:
            return
        super()._check()


@caught_by(Lifecycle)
class AnybodyMayClose(SharedMemoryDriver):
    """Closes on whatever event loop it is told to."""

    async def close(self) -> None:
        if self._owner is not None and self._owner.here[0] is not asyncio.get_running_loop():
            self._closed = True
            return
        await super().close()


@caught_by(Lifecycle)
class CutsCallsOff(SharedMemoryDriver):
    """Close does not wait for calls that are under way."""

    async def close(self) -> None:
        self._busy = 0
        await super().close()


@caught_by(Lifecycle)
class BrokenByACancellation(SharedMemoryDriver):
    """A cancelled commit leaves the connection in the middle of something."""

    broken = False

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        if self.broken:
            raise UnavailableError("the connection is in use")
        try:
            return await super()._commit(units)
        except asyncio.CancelledError:
            self.broken = True
            raise


@caught_by(Lifecycle)
class ClearsTheBaseToo(SharedMemoryDriver):
    """Clear removes the base itself."""

    async def clear(self, base: Key) -> int:
        removed = await super().clear(base)
        if base:
            await self.apply([Delete(base)])
        return removed


@caught_by(Lifecycle)
class ClearsWhatBeginsAlike(SharedMemoryDriver):
    """Clear of `a` removes `ab`."""

    async def clear(self, base: Key) -> int:
        self._check()
        gone = [key for key in self.place.records if key.startswith(base) and key != base]
        for key in gone:
            del self.place.records[key]
        return len(gone)


@caught_by(Lifecycle)
class ClearsOnePage(SharedMemoryDriver):
    """Clear removes the first page."""

    async def clear(self, base: Key) -> int:
        page = await self.scan(Range(base, limit=256, values=False))
        await self.apply([Delete(item.key) for item in page.items])
        return len(page.items)


@caught_by(Lifecycle)
class AnotherClockForHealth(SharedMemoryDriver):
    """Health tells its time in seconds."""

    async def _health(self) -> Health:
        return replace(await super()._health(), clock_ms=self.now() // 1000)


@caught_by(Lifecycle)
class OptionsAreIgnored(SharedMemoryDriver):
    """An option that does not exist is taken and has no effect."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        return super().from_url(url.partition("?")[0])


@caught_by(Lifecycle)
class DeclaresMoreThanItFinds(SharedMemoryDriver):
    """After opening, the capabilities are others than those that are declared."""

    async def _open(self) -> None:
        self.capabilities = replace(type(self).capabilities, watch=False)


@caught_by(Lifecycle)
class OneMapForAll(SharedMemoryDriver):
    """Places with different names share their items."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        super().from_url(url)
        return cls("the one and only")


@caught_by(Lifecycle)
class AlwaysOpen(SharedMemoryDriver):
    """Says that it is open as soon as it was made."""

    @property
    def is_open(self) -> bool:
        return True


@caught_by(Lifecycle)
class AClearIsManyCalls(SharedMemoryDriver):
    """A clear asks through the front door for each part, and finds it shut when the driver closes."""

    async def clear(self, base: Key) -> int:
        removed = 0
        while True:
            page = await self.scan(Range(base, limit=256, values=False))
            await self.apply([Delete(item.key) for item in page.items])
            removed += len(page.items)
            if page.next is None:
                return removed
