"""A driver that is opened when it is first used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Unpack

from .._errors import ClosedError
from .._secrets import hidden_url
from ..driver import Capabilities, Driver, Health, Item, Key, Outcome, Page, Range, Unit
from ..wrappers import ensure_owner
from ._open import assembled, open_driver
from ._opening_options import OpeningOptions

__all__ = ["OnDemand"]


class OnDemand(Driver):
    """A driver that the first call opens. That call raises what opening raises, and the next one tries again."""

    capabilities: Capabilities

    def __init__(self, target: str | Driver | None, **options: Unpack[OpeningOptions]) -> None:
        target = hidden_url(target)
        made, _ = assembled(target, **options)
        self.capabilities = made.capabilities
        self._tls_problem = made.tls_problem
        self._target = target
        self._options = options
        self._driver: Driver | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    @property
    def tls_problem(self) -> str | None:
        return self._tls_problem

    @property
    def is_open(self) -> bool:
        return self._driver is not None

    async def open(self) -> None:
        await self.opened()

    def ensure_owner(self) -> None:
        if self._driver is not None:
            ensure_owner(self._driver)

    async def close(self) -> None:
        self.ensure_owner()
        self._closed = True
        async with self._opening:
            driver, self._driver = self._driver, None
        if driver is not None:
            await driver.close()

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        return await (await self.opened()).get(keys, values=values)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await (await self.opened()).commit(units)

    async def scan(self, range: Range) -> Page:
        return await (await self.opened()).scan(range)

    async def clear(self, base: Key) -> int:
        return await (await self.opened()).clear(base)

    async def purge(self) -> int:
        return await (await self.opened()).purge()

    async def health(self, *, probe: bool = False) -> Health:
        return await (await self.opened()).health(probe=probe)

    async def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        changes = (await self.opened()).watch(base)
        try:
            async for keys in changes:
                yield keys
        finally:
            if isinstance(changes, AsyncGenerator):
                await changes.aclose()

    async def opened(self) -> Driver:
        """Return the open driver itself."""
        if self._driver is None:
            async with self._opening:
                if self._closed:
                    raise ClosedError("used after close(): open a new one")
                if self._driver is None:
                    self._driver = await self._open()
                    self.capabilities = self._driver.capabilities
        return self._driver

    async def _open(self) -> Driver:
        return await open_driver(self._target, **self._options)
