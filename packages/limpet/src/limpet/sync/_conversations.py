"""Containers, images, sessions and their messages, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..records import ContainerRecord, ImageRecord, Message, SessionRecord
from ..stores import ContainerRepository as AsyncContainerRepository
from ..stores import ImageRepository as AsyncImageRepository
from ..stores import Lineage
from ..stores import SessionRepository as AsyncSessionRepository
from ..structures import RepairReport
from ._face import Face
from ._listing import Listing

__all__ = ["ContainerRepository", "ImageRepository", "SessionRepository"]


class SessionRepository(Face[AsyncSessionRepository]):
    """Sessions by id, image and container, newest first; messages in the order they were added.

    A session and its messages are created and deleted together: the session's own batch creates and deletes the head of
    the messages' log.
    """

    def save_session(self, session: SessionRecord | Mapping[str, Any]) -> SessionRecord:
        """Store a whole session, new or not, and return it as stored, with its timestamps. Its messages are kept."""
        return self._call(self._inner.save_session, session)

    def find_session_by_id(self, session_id: str) -> SessionRecord | None:
        """Return the session or `None`."""
        return self._call(self._inner.find_session_by_id, session_id)

    def find_session_by_image_id(self, image_id: str) -> SessionRecord | None:
        """Return the newest session of an image, or `None`."""
        return self._call(self._inner.find_session_by_image_id, image_id)

    def find_sessions_by_container_id(
        self, container_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[SessionRecord]:
        """List the sessions of a container, newest first."""
        return Listing(
            self._portal, self._inner.find_sessions_by_container_id(container_id, limit=limit, cursor=cursor)
        )

    def find_all_sessions(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[SessionRecord]:
        """List all sessions, newest first."""
        return Listing(self._portal, self._inner.find_all_sessions(limit=limit, cursor=cursor))

    def session_exists(self, session_id: str) -> bool:
        """Return whether there is such a session."""
        return self._call(self._inner.session_exists, session_id)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)

    def delete_session(self, session_id: str) -> None:
        """Delete a session with its messages, atomically. Does nothing if it does not exist."""
        self._call(self._inner.delete_session, session_id)

    def fork(self, session_id: str, *, at: int | str | None = None, id: str | None = None) -> SessionRecord:
        """Create a session that shares the messages up to and including `at` (a seq or an id; default: all).

        The same few driver calls whatever the length: nothing is copied, and shared messages keep their ids, times and
        numbers. Image and container are the parent's. Raises `NotFoundError` if the session or message does not exist,
        `ConflictError` if the id is taken, `TooLargeError` for a fork of forks, more than 128 deep.
        """
        return self._call(self._inner.fork, session_id, at=at, id=id)

    def lineage(self, session_id: str) -> Lineage[SessionRecord]:
        """Return what a session was forked from, and what was forked from it, directly or not, and deleted ancestors.

        Four driver calls for a family of up to 200. Raises `NotFoundError`.
        """
        return self._call(self._inner.lineage, session_id)

    def add_message(
        self,
        session_id: str,
        message: Message | Mapping[str, Any],
        *,
        unique: bool = False,
        create: bool | SessionRecord | Mapping[str, Any] = False,
    ) -> Message:
        """Append a message and return it as stored, with its id, timestamp and seq.

        One driver call once the session is known, however long the conversation is. With `unique`, a message whose id
        exists already is not added again: the stored one is returned. Raises `NotFoundError` if the session does not
        exist, unless `create` is set: then it is created, from the given record or with its id only.
        """
        return self._call(self._inner.add_message, session_id, message, unique=unique, create=create)

    def add_messages(
        self,
        session_id: str,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        create: bool | SessionRecord | Mapping[str, Any] = False,
    ) -> Sequence[Message]:
        """Append messages, all or none, and return them as stored. `create` and errors are as in `add_message`."""
        return self._call(self._inner.add_messages, session_id, messages, create=create)

    def pop_message(self, session_id: str) -> Message | None:
        """Remove the newest message and return it; `None` if there is none. Forks keep it.

        Concurrent calls get different messages. An unreadable message is removed and logged, and the one before it is
        returned. Three driver calls.
        """
        return self._call(self._inner.pop_message, session_id)

    def get_messages(
        self,
        session_id: str,
        *,
        last: int | None = None,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[Message]:
        """List the messages of a session in the order they were added; none if the session does not exist.

        `before` and `after` are seq numbers, exclusive. `last=50` returns the newest 50, oldest first; the
        page's cursor then leads to the ones before.
        """
        return Listing(
            self._portal,
            self._inner.get_messages(session_id, last=last, before=before, after=after, limit=limit, cursor=cursor),
        )

    def count_messages(self, session_id: str) -> int:
        """Return how many messages a session has, without reading them; 0 if the session does not exist."""
        return self._call(self._inner.count_messages, session_id)

    def clear_messages(self, session_id: str) -> int:
        """Remove all messages of a session, but not the session; return how many there were."""
        return self._call(self._inner.clear_messages, session_id)

    def truncate_after_message(self, session_id: str, message: str | int) -> int:
        """Remove every message after one, given by id or seq, atomically; return how many were removed.

        Raises `NotFoundError` for an unknown id.
        """
        return self._call(self._inner.truncate_after_message, session_id, message)

    def find_sessions_by_image_id(
        self, image_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[SessionRecord]:
        """List the sessions of an image, newest first."""
        return Listing(self._portal, self._inner.find_sessions_by_image_id(image_id, limit=limit, cursor=cursor))


class ImageRepository(Face[AsyncImageRepository]):
    """Images by id, name and container. Lists run newest first."""

    def save_image(self, image: ImageRecord | Mapping[str, Any]) -> ImageRecord:
        """Store a whole image, new or not, and return it as stored, with its timestamps.

        If it names a parent, its `ancestors` are looked up, with one more driver call.
        """
        return self._call(self._inner.save_image, image)

    def find_image_by_id(self, image_id: str) -> ImageRecord | None:
        """Return the image or `None`."""
        return self._call(self._inner.find_image_by_id, image_id)

    def find_all_images(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[ImageRecord]:
        """List all images, newest first."""
        return Listing(self._portal, self._inner.find_all_images(limit=limit, cursor=cursor))

    def find_images_by_name(
        self, name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[ImageRecord]:
        """List the images with exactly this name, whatever characters it contains, newest first."""
        return Listing(self._portal, self._inner.find_images_by_name(name, limit=limit, cursor=cursor))

    def find_images_by_container_id(
        self, container_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[ImageRecord]:
        """List the images of a container, newest first."""
        return Listing(self._portal, self._inner.find_images_by_container_id(container_id, limit=limit, cursor=cursor))

    def image_exists(self, image_id: str) -> bool:
        """Return whether there is such an image."""
        return self._call(self._inner.image_exists, image_id)

    def update_metadata(self, image_id: str, metadata: Mapping[str, Any]) -> ImageRecord:
        """Merge into an image's metadata, one level deep, and return the image. Raises `NotFoundError`.

        Concurrent merges are all kept.
        """
        return self._call(self._inner.update_metadata, image_id, metadata)

    def fork(
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
        return self._call(self._inner.fork, image_id, at=at, name=name, id=id, session_id=session_id)

    def lineage(self, image_id: str) -> Lineage[ImageRecord]:
        """Return what an image was forked from, and what was forked from it, directly or not, and deleted ancestors.

        An image that was saved before its parent counts as forked only from that parent. Four driver calls for a family
        of up to 200. Raises `NotFoundError`.
        """
        return self._call(self._inner.lineage, image_id)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)

    def delete_image(self, image_id: str, *, cascade: bool = False) -> None:
        """Delete an image. Does nothing if it does not exist.

        Its sessions are kept, unless `cascade`: then they and their messages are deleted too, in one atomic batch.
        """
        self._call(self._inner.delete_image, image_id, cascade=cascade)


class ContainerRepository(Face[AsyncContainerRepository]):
    """Containers by id. Lists run newest first."""

    def save_container(self, container: ContainerRecord | Mapping[str, Any]) -> ContainerRecord:
        """Store a whole container, new or not, and return it as stored, with its timestamps."""
        return self._call(self._inner.save_container, container)

    def find_container_by_id(self, container_id: str) -> ContainerRecord | None:
        """Return the container or `None`."""
        return self._call(self._inner.find_container_by_id, container_id)

    def find_all_containers(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[ContainerRecord]:
        """List all containers, newest first."""
        return Listing(self._portal, self._inner.find_all_containers(limit=limit, cursor=cursor))

    def container_exists(self, container_id: str) -> bool:
        """Return whether there is such a container."""
        return self._call(self._inner.container_exists, container_id)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)

    def delete_container(self, container_id: str, *, cascade: bool = False) -> None:
        """Delete a container. Does nothing if it does not exist.

        Its images and sessions are kept, unless `cascade`: then they and all messages are deleted too, in one atomic
        batch. Raises `TooLargeError`, and deletes nothing, if the driver does not accept a batch of that size.
        """
        self._call(self._inner.delete_container, container_id, cascade=cascade)
