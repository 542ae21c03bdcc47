"""AgentX's images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._errors import NotFoundError
from ..driver import Driver
from ..records import ImageRecord, as_record, utc_now
from ..structures import Collection, Index, Listing, ModelCodec, RepairReport
from ._records import Removal, Retained, created_at, remove, save_record
from ._sessions import SessionRepository

__all__ = ["ImageRepository"]


class ImageRepository:
    """Images by id, name and container. Lists run newest first."""

    def __init__(self, driver: Driver, sessions: SessionRepository) -> None:
        self._driver = driver
        self._sessions = sessions
        self._records = Collection(
            driver,
            "images",
            ModelCodec(ImageRecord),
            id_of=lambda record: record.image_id,
            indexes=[
                Index("name", lambda record: record.name),
                Index("container", lambda record: record.container_id),
            ],
            created_at=created_at,
        )

    async def save_image(self, image: ImageRecord | Mapping[str, Any]) -> ImageRecord:
        """Store an image whole, new or not, and answer it as stored: with its timestamps."""
        return await save_record(self._driver, self._records, as_record(ImageRecord, image))

    async def find_image_by_id(self, image_id: str) -> ImageRecord | None:
        """The image, `None` where there is none."""
        return await self._records.get(image_id)

    def find_all_images(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[ImageRecord]:
        """All images, newest first."""
        return self._records.all(limit=limit, cursor=cursor)

    def find_images_by_name(
        self, name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[ImageRecord]:
        """The images of exactly this name, whatever its characters, newest first."""
        return self._records.find("name", name, limit=limit, cursor=cursor)

    def find_images_by_container_id(
        self, container_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[ImageRecord]:
        """The images of a container, newest first."""
        return self._records.find("container", container_id, limit=limit, cursor=cursor)

    async def image_exists(self, image_id: str) -> bool:
        """Whether there is such an image."""
        return await self._records.exists(image_id)

    async def update_metadata(self, image_id: str, metadata: Mapping[str, Any]) -> ImageRecord:
        """Merge into an image's metadata, one level deep, and answer the image. Raises `NotFoundError`.

        Concurrent merges are all kept.
        """

        def merge(image: ImageRecord) -> ImageRecord:
            merged = {**(image.metadata or {}), **metadata}
            return image.model_copy(update={"metadata": merged, "updated_at": utc_now()})

        try:
            return await self._records.update(image_id, merge)
        except NotFoundError:
            raise NotFoundError(f"Image not found: {image_id}") from None

    async def repair(self) -> RepairReport:
        """Compare every record with its index entries and mend these; needed only after a change from outside."""
        return await self._records.repair()

    async def delete_image(self, image_id: str, *, cascade: bool = False) -> None:
        """Remove an image; of one that is not there, nothing.

        Its sessions stay, unless `cascade`: then they and their messages go with it, in one atomic batch.
        """
        if not cascade:
            await self._records.delete(image_id)
            return
        await remove(self._driver, await self.removals(image_id))

    # For what images belong to, and what cleans up.

    async def removals(self, image_id: str) -> list[Removal]:
        """How an image is removed with its sessions."""
        key = self._records.key(image_id)
        own = Removal([key], lambda known: self._records.plan_delete(known, image_id))
        sessions = [session.session_id async for session in self._sessions.find_sessions_by_image_id(image_id)]
        return [own, *map(self._sessions.removal, sessions)]

    @property
    def retained(self) -> Retained:
        """What a retention policy acts on."""
        return Retained(self._records, self.removals)
