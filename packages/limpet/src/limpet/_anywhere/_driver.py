"""A driver that lives on another event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from .._portal import Portal
from ..driver import Capabilities, Driver, Health, Item, Key, Outcome, Page, Range, Unit

__all__ = ["CrossingDriver"]


class CrossingDriver(Driver):
    """The driver behind a portal, for an application's own structures on any event loop."""

    def __init__(self, inner: Driver, portal: Portal) -> None:
        self.inner = inner
        self.portal = portal

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # it may change when the driver is opened
        return self.inner.capabilities

    @property
    def is_open(self) -> bool:
        return self.inner.is_open and not self.portal.is_closed

    async def open(self) -> None:
        await self.portal.cross(self.inner.open)

    async def close(self) -> None:
        """Does nothing: closing the database closes it."""

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        return await self.portal.cross(self.inner.get, keys, values=values)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await self.portal.cross(self.inner.commit, units)

    async def scan(self, range: Range) -> Page:
        return await self.portal.cross(self.inner.scan, range)

    async def clear(self, base: Key) -> int:
        return await self.portal.cross(self.inner.clear, base)

    async def purge(self) -> int:
        return await self.portal.cross(self.inner.purge)

    async def health(self, *, probe: bool = False) -> Health:
        return await self.portal.cross(self.inner.health, probe=probe)

    def watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
        return self.portal.iterate_across(self.inner.watch(base))
