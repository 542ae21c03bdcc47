"""A place that is opened when it is first used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from .._errors import ClosedError
from ..driver import Batch, Check, Driver, Health, Item, Key, Page, Put, Verdict, Work
from ..wrappers import Wrap
from ._open import Place, assembled, open_place

__all__ = ["OnDemand"]


class OnDemand(Driver):
    """What `open_place` opens, opened by the first call; that call raises what opening raises, and the next one tries again."""

    def __init__(
        self,
        url: str,
        *,
        coalesce: bool = True,
        wrappers: Sequence[Wrap] = (),
        plugins: Sequence[str] | None = None,
    ) -> None:
        self.capabilities = assembled(url, coalesce=coalesce, wrappers=wrappers, plugins=plugins)[0].capabilities
        self._url = url
        self._coalesce = coalesce
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

    async def apply(self, batch: Batch) -> None:
        await (await self._driver()).apply(batch)

    async def scan(
        self,
        base: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        reverse: bool = False,
        limit: int = 100,
        values: bool = True,
    ) -> Page:
        driver = await self._driver()
        return await driver.scan(base, after=after, before=before, reverse=reverse, limit=limit, values=values)

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        return await (await self._driver()).apply_many(work)

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        return await (await self._driver()).append(log, puts, check)

    async def clear(self, base: Key) -> int:
        return await (await self._driver()).clear(base)

    async def purge(self) -> int:
        return await (await self._driver()).purge()

    async def health(self) -> Health:
        return await (await self._driver()).health()

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
        return await open_place(self._url, coalesce=self._coalesce, wrappers=self._wrappers, plugins=self._plugins)
