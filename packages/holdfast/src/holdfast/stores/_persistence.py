"""Everything that an agent keeps, on one driver."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..driver import Driver, Health
from ..opening import Place
from ..structures import sweep_all
from ._containers import ContainerRepository
from ._images import ImageRepository
from ._sessions import SessionRepository

__all__ = ["Persistence"]


class Persistence:
    """One attribute for each store. Made by `create_persistence`; close it, or use it in `async with`."""

    containers: ContainerRepository
    images: ImageRepository
    sessions: SessionRepository

    def __init__(self, place: Place) -> None:
        self._place = place
        self.sessions = SessionRepository(place.driver)
        self.images = ImageRepository(place.driver, self.sessions)
        self.containers = ContainerRepository(place.driver, self.images, self.sessions)

    @property
    def driver(self) -> Driver:
        """The open driver, for structures of one's own (`holdfast.structures`)."""
        return self._place.driver

    async def health(self) -> Health:
        """Ask the backend for a sign of life: for a readiness probe. Raises `UnavailableError`."""
        return await self.driver.health()

    async def purge(self) -> int:
        """Free what expired and what deleted conversations left; answer how many items. Any process may, at any time."""
        return await sweep_all(self.driver) + await self.driver.purge()

    async def aclose(self) -> None:
        """Wait for what is under way, then close. A driver that the application had opened itself stays open."""
        await self._place.close()

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
