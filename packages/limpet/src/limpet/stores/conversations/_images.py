"""AgentX's images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from ..._arguments import checked_arguments
from ..._errors import ConflictError, NotFoundError
from ...driver import Check, Driver, Write
from ...records import ImageRecord, SessionRecord, as_record, utc_now
from ...structures import Collection, Index, Listing, ModelCodec, ReadSet, RepairReport
from .._formats import IMAGE
from .._removal import Removal, Retained, remove
from ._lineage import Lineage, family, lineage
from ._saving import created_at, save_record, stamped
from ._sessions import SessionRepository

__all__ = ["ImageRepository"]


@checked_arguments
class ImageRepository:
    """Images by id, name and container. Lists run newest first."""

    def __init__(self, driver: Driver, sessions: SessionRepository) -> None:
        self._driver = driver
        self._sessions = sessions
        self._records = Collection(
            driver,
            "images",
            ModelCodec(ImageRecord, IMAGE),
            id_of=lambda record: record.image_id,
            indexes=[
                Index("name", lambda record: record.name),
                Index("container", lambda record: record.container_id),
                family(_ancestors),
            ],
            created_at=created_at,
        )

    async def save_image(self, image: ImageRecord | Mapping[str, Any]) -> ImageRecord:
        """Store a whole image, new or not, and return it as stored, with its timestamps.

        If it names a parent, its `ancestors` are looked up, with one more driver call.
        """
        record = as_record(ImageRecord, image)
        parent = record.parent_image_id
        if parent is not None and record.ancestors is None:
            of, stored = await self._records.get_many([parent, record.image_id])
            line = [*_ancestors(of), parent] if of is not None else [parent]
            if of is None and stored is not None and stored.parent_image_id == parent:
                line = [*_ancestors(stored)]  # the parent was deleted since
            record = record.model_copy(update={"ancestors": line})
        return await save_record(self._driver, self._records, record)

    async def find_image_by_id(self, image_id: str) -> ImageRecord | None:
        """Return the image or `None`."""
        return await self._records.get(image_id)

    def find_all_images(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[ImageRecord]:
        """List all images, newest first."""
        return self._records.all(limit=limit, cursor=cursor)

    def find_images_by_name(
        self, name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[ImageRecord]:
        """List the images with exactly this name, whatever characters it contains, newest first."""
        return self._records.find("name", name, limit=limit, cursor=cursor)

    def find_images_by_container_id(
        self, container_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[ImageRecord]:
        """List the images of a container, newest first."""
        return self._records.find("container", container_id, limit=limit, cursor=cursor)

    async def image_exists(self, image_id: str) -> bool:
        """Return whether there is such an image."""
        return await self._records.exists(image_id)

    async def update_metadata(self, image_id: str, metadata: Mapping[str, Any]) -> ImageRecord:
        """Merge into an image's metadata, one level deep, and return the image. Raises `NotFoundError`.

        Concurrent merges are all kept.
        """

        def merge(image: ImageRecord) -> ImageRecord:
            merged = {**(image.metadata or {}), **metadata}
            return image.model_copy(update={"metadata": merged, "updated_at": utc_now()})

        try:
            return await self._records.update(image_id, merge)
        except NotFoundError:
            raise NotFoundError(f"Image not found: {image_id}") from None

    async def fork(
        self,
        image_id: str,
        *,
        at: int | str | None = None,
        name: str | None = None,
        id: str | None = None,
        session_id: str | None = None,
    ) -> ImageRecord:
        """Create an image with a session of its own that shares the messages up to `at` (a seq or an id; default: all).

        One batch, and the same few driver calls whatever the length. The rest is copied from the image, which becomes
        `parent_image_id`. Raises what `sessions.fork` raises.
        """
        image = await self.find_image_by_id(image_id)
        if image is None:
            raise NotFoundError(f"Image not found: {image_id}")
        fork_id = uuid4().hex if id is None else id
        own, parent = self._records.key(fork_id), self._records.key(image_id)

        def plan(reads: ReadSet, session: SessionRecord) -> tuple[Sequence[Write], ImageRecord]:
            of = self._records.decode(reads[parent], image_id)
            if of is None or reads[own] is not None or of.session_id != image.session_id:
                raise ConflictError(
                    f"the image {image_id!r} changed in the meantime, or the image {fork_id!r} already exists"
                )
            change = {
                "image_id": fork_id,
                "session_id": session.session_id,
                "name": of.name if name is None else name,
                "parent_image_id": image_id,
                "ancestors": [*_ancestors(of), image_id],
                "created_at": None,
                "updated_at": None,
            }
            fork = stamped(of.model_copy(update=change), None)
            return [Check(parent), *self._records.plan_save(reads, fork, if_absent=True)], fork

        fields = {"image_id": fork_id, "container_id": image.container_id}
        fields |= {} if session_id is None else {"session_id": session_id}
        return await self._sessions.fork_with(image.session_id, at, fields, [own, parent], plan)

    async def lineage(self, image_id: str) -> Lineage[ImageRecord]:
        """Return what an image was forked from, and what was forked from it, directly or not, and deleted ancestors.

        An image that was saved before its parent counts as forked only from that parent. Four driver calls for a family
        of up to 200. Raises `NotFoundError`.
        """
        return await lineage(self._records, image_id, _ancestors, "image")

    async def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return await self._records.repair(dry_run=dry_run)

    async def delete_image(self, image_id: str, *, cascade: bool = False) -> None:
        """Delete an image. Does nothing if it does not exist.

        Its sessions are kept, unless `cascade`: then they and their messages are deleted too, in one atomic batch.
        """
        if not cascade:
            await self._records.delete(image_id)
            return
        await remove(self._driver, await self.removals(image_id))

    # For containers, which images belong to, and for retention.

    async def removals(self, image_id: str) -> list[Removal]:
        """Return how to remove an image with its sessions."""
        key = self._records.key(image_id)
        own = Removal([key], lambda reads: self._records.plan_delete(reads, image_id))
        sessions = [session.session_id async for session in self._sessions.find_sessions_by_image_id(image_id)]
        return [own, *map(self._sessions.removal, sessions)]

    @property
    def retained(self) -> Retained:
        """Return what a retention policy acts on."""
        return Retained(self._records, self.removals)


def _ancestors(record: ImageRecord) -> Sequence[str]:
    return record.ancestors or ()
