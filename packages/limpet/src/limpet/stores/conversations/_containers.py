"""AgentX's containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..._arguments import checked_arguments
from ...driver import Driver
from ...records import ContainerRecord, as_record
from ...structures import Collection, Listing, ModelCodec, RepairReport
from .._formats import CONTAINER
from .._removal import Removal, Retained, remove
from ._images import ImageRepository
from ._saving import created_at, save_record
from ._sessions import SessionRepository

__all__ = ["ContainerRepository"]


@checked_arguments
class ContainerRepository:
    """Containers by id. Lists run newest first."""

    def __init__(self, driver: Driver, images: ImageRepository, sessions: SessionRepository) -> None:
        self._driver = driver
        self._images = images
        self._sessions = sessions
        self._records = Collection(
            driver,
            "containers",
            ModelCodec(ContainerRecord, CONTAINER),
            id_of=lambda record: record.container_id,
            created_at=created_at,
        )

    async def save_container(self, container: ContainerRecord | Mapping[str, Any]) -> ContainerRecord:
        """Store a whole container, new or not, and return it as stored, with its timestamps."""
        return await save_record(self._driver, self._records, as_record(ContainerRecord, container))

    async def find_container_by_id(self, container_id: str) -> ContainerRecord | None:
        """Return the container or `None`."""
        return await self._records.get(container_id)

    def find_all_containers(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[ContainerRecord]:
        """List all containers, newest first."""
        return self._records.all(limit=limit, cursor=cursor)

    async def container_exists(self, container_id: str) -> bool:
        """Return whether there is such a container."""
        return await self._records.exists(container_id)

    async def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return await self._records.repair(dry_run=dry_run)

    async def delete_container(self, container_id: str, *, cascade: bool = False) -> None:
        """Delete a container. Does nothing if it does not exist.

        Its images and sessions are kept, unless `cascade`: then they and all messages are deleted too, in one atomic
        batch. Raises `TooLargeError`, and deletes nothing, if the driver does not accept a batch of that size.
        """
        if not cascade:
            await self._records.delete(container_id)
            return
        await remove(self._driver, await self.removals(container_id))

    # For retention.

    async def removals(self, container_id: str) -> Sequence[Removal]:
        """Return how to remove a container with its images and sessions."""
        key = self._records.key(container_id)
        removals = {key: Removal([key], lambda reads: self._records.plan_delete(reads, container_id))}
        async for image in self._images.find_images_by_container_id(container_id):
            removals |= {removal.keys[0]: removal for removal in await self._images.removals(image.image_id)}
        async for session in self._sessions.find_sessions_by_container_id(container_id):
            removal = self._sessions.removal(session.session_id)
            removals[removal.keys[0]] = removal
        return list(removals.values())

    @property
    def retained(self) -> Retained:
        """Return what a retention policy acts on."""
        return Retained(self._records, self.removals)
