"""A place that is opened when it is first used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from .._errors import ClosedError
from ..driver import Driver, Health, Item, Key, Outcome, Page, Range, Unit
from ..wrappers import Wrap
from ._open import Place, assembled, open_place

__all__ = ["OnDemand"]


class OnDemand(Driver):
    """What `open_place` opens, opened by the first call; that call raises what opening raises, and the next one tries again."""

    def __init__(
        self,
        url: str,
        *,
        batching: bool = True,
        wrappers: Sequence[Wrap] = (),
        plugins: Sequence[str] | None = None,
    ) -> None:
        self.capabilities = assembled(url, batching=batching, wrappers=wrappers, plugins=plugins)[0].capabilities
        self._url = url
        self._batching = batching
        self._wrappers = wrappers
        self._plugins = plugins
        self._place: Place | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    @property
    def is_open(self) -> bool:
        return self._place is not None

    async def open(self) -> None:
        await self._driver()

    async def close(self) -> None:
        self._closed = True
        async with self._opening:
            place, self._place = self._place, None
        if place is not None:
            await place.close()

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        return await (await self._driver()).get(keys, values=values)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await (await self._driver()).commit(units)

    async def scan(self, range: Range) -> Page:
        return await (await self._driver()).scan(range)

    async def clear(self, base: Key) -> int:
        return await (await self._driver()).clear(base)

    async def purge(self) -> int:
        return await (await self._driver()).purge()

    async def health(self, *, probe: bool = False) -> Health:
        return await (await self._driver()).health(probe=probe)

    async def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        hints = (await self._driver()).watch(base)
        try:
            async for hint in hints:
                yield hint
        finally:
            if isinstance(hints, AsyncGenerator):
                await hints.aclose()

    async def _driver(self) -> Driver:
        if self._place is None:
            async with self._opening:
                if self._closed:
                    raise ClosedError("used after close(): open a new one")
                if self._place is None:
                    self._place = await self._open()
                    self.capabilities = self._place.driver.capabilities
        return self._place.driver

    async def _open(self) -> Place:
        return await open_place(self._url, batching=self._batching, wrappers=self._wrappers, plugins=self._plugins)
