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
    """Sessions by id, image and container, newest first; messages in the order of adding.

    A session and its messages live and die together: the head of the messages' log is made and removed in the
    session's own batch.
    """

    def save_session(self, session: SessionRecord | Mapping[str, Any]) -> SessionRecord:
        """Store a session whole, new or not, and return it as stored: with its timestamps. Its messages stay."""
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
        """The sessions of a container, newest first."""
        return Listing(
            self._portal, self._inner.find_sessions_by_container_id(container_id, limit=limit, cursor=cursor)
        )

    def find_all_sessions(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[SessionRecord]:
        """All sessions, newest first."""
        return Listing(self._portal, self._inner.find_all_sessions(limit=limit, cursor=cursor))

    def session_exists(self, session_id: str) -> bool:
        """Whether there is such a session."""
        return self._call(self._inner.session_exists, session_id)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and mend these; with `dry_run` only count what is wrong.

        Needed only after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)

    def delete_session(self, session_id: str) -> None:
        """Remove a session with its messages, atomically; of one that is not there, nothing."""
        self._call(self._inner.delete_session, session_id)

    def fork(self, session_id: str, *, at: int | str | None = None, id: str | None = None) -> SessionRecord:
        """A session of its own that shares the messages up to `at` (a seq or an id; all there are), that one included.

        The same few driver calls whatever the length: nothing is copied, and shared messages keep their ids, times and
        numbers. Image and container are the parent's. Raises `NotFoundError` for a session or message that is not there,
        `ConflictError` where the id is taken, `TooLargeError` for a fork of forks, more than 128 deep.
        """
        return self._call(self._inner.fork, session_id, at=at, id=id)

    def lineage(self, session_id: str) -> Lineage[SessionRecord]:
        """All that a session was forked from, and all that was forked from it, directly or not; deleted ancestors too.

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
        """Append a message and return it as stored: with its id, timestamp and seq.

        One driver call once the session is known, however long the conversation is. With `unique` a message whose id
        is there already is not added again: the stored one is returned. Raises `NotFoundError` for a session that
        does not exist or was deleted, unless `create`: then it is made, from the record given or with its id alone.
        """
        return self._call(self._inner.add_message, session_id, message, unique=unique, create=create)

    def add_messages(
        self,
        session_id: str,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        create: bool | SessionRecord | Mapping[str, Any] = False,
    ) -> Sequence[Message]:
        """Append messages, all of them or none, and return them as stored. `create` and errors are as in `add_message`."""
        return self._call(self._inner.add_messages, session_id, messages, create=create)

    def pop_message(self, session_id: str) -> Message | None:
        """Remove the newest message and return it, or `None` where there is none. Forks keep it.

        Concurrent calls get different messages. A message that cannot be read is removed and logged, and the one before it
        is returned. Three driver calls.
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
        """The messages of a session in the order of adding; none for a session that does not exist.

        `before` and `after` are seq numbers, excluded themselves. `last=50` gives the newest 50, oldest of them
        first; the page's cursor then leads to those before.
        """
        return Listing(
            self._portal,
            self._inner.get_messages(session_id, last=last, before=before, after=after, limit=limit, cursor=cursor),
        )

    def count_messages(self, session_id: str) -> int:
        """How many messages a session has, without reading them; 0 for a session that does not exist."""
        return self._call(self._inner.count_messages, session_id)

    def clear_messages(self, session_id: str) -> int:
        """Remove all messages of a session, which stays; return how many there were."""
        return self._call(self._inner.clear_messages, session_id)

    def truncate_after_message(self, session_id: str, message: str | int) -> int:
        """Remove every message behind one, named by id or seq, atomically; return how many went.

        Raises `NotFoundError` for an id that is not there.
        """
        return self._call(self._inner.truncate_after_message, session_id, message)

    def find_sessions_by_image_id(
        self, image_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[SessionRecord]:
        """The sessions of an image, newest first."""
        return Listing(self._portal, self._inner.find_sessions_by_image_id(image_id, limit=limit, cursor=cursor))


class ImageRepository(Face[AsyncImageRepository]):
    """Images by id, name and container. Lists run newest first."""

    def save_image(self, image: ImageRecord | Mapping[str, Any]) -> ImageRecord:
        """Store an image whole, new or not, and return it as stored: with its timestamps.

        Where it names a parent, its `ancestors` are looked up, in one driver call more.
        """
        return self._call(self._inner.save_image, image)

    def find_image_by_id(self, image_id: str) -> ImageRecord | None:
        """Return the image or `None`."""
        return self._call(self._inner.find_image_by_id, image_id)

    def find_all_images(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[ImageRecord]:
        """All images, newest first."""
        return Listing(self._portal, self._inner.find_all_images(limit=limit, cursor=cursor))

    def find_images_by_name(
        self, name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[ImageRecord]:
        """The images of exactly this name, whatever its characters, newest first."""
        return Listing(self._portal, self._inner.find_images_by_name(name, limit=limit, cursor=cursor))

    def find_images_by_container_id(
        self, container_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[ImageRecord]:
        """The images of a container, newest first."""
        return Listing(self._portal, self._inner.find_images_by_container_id(container_id, limit=limit, cursor=cursor))

    def image_exists(self, image_id: str) -> bool:
        """Whether there is such an image."""
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
        """An image with a session of its own that shares the messages up to `at` (a seq or an id; all there are).

        One batch, and the same few driver calls whatever the length. The rest is as in the image, which becomes
        `parent_image_id`. Raises what `sessions.fork` raises.
        """
        return self._call(self._inner.fork, image_id, at=at, name=name, id=id, session_id=session_id)

    def lineage(self, image_id: str) -> Lineage[ImageRecord]:
        """All that an image was forked from, and all that was forked from it, directly or not; deleted ancestors too.

        Images that were saved before their parent count from that one on. Four driver calls for a family of up to 200. Raises
        `NotFoundError`.
        """
        return self._call(self._inner.lineage, image_id)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and mend these; with `dry_run` only count what is wrong.

        Needed only after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)

    def delete_image(self, image_id: str, *, cascade: bool = False) -> None:
        """Remove an image; of one that is not there, nothing.

        Its sessions stay, unless `cascade`: then they and their messages go with it, in one atomic batch.
        """
        self._call(self._inner.delete_image, image_id, cascade=cascade)


class ContainerRepository(Face[AsyncContainerRepository]):
    """Containers by id. Lists run newest first."""

    def save_container(self, container: ContainerRecord | Mapping[str, Any]) -> ContainerRecord:
        """Store a container whole, new or not, and return it as stored: with its timestamps."""
        return self._call(self._inner.save_container, container)

    def find_container_by_id(self, container_id: str) -> ContainerRecord | None:
        """Return the container or `None`."""
        return self._call(self._inner.find_container_by_id, container_id)

    def find_all_containers(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[ContainerRecord]:
        """All containers, newest first."""
        return Listing(self._portal, self._inner.find_all_containers(limit=limit, cursor=cursor))

    def container_exists(self, container_id: str) -> bool:
        """Whether there is such a container."""
        return self._call(self._inner.container_exists, container_id)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and mend these; with `dry_run` only count what is wrong.

        Needed only after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)

    def delete_container(self, container_id: str, *, cascade: bool = False) -> None:
        """Remove a container; of one that is not there, nothing.

        Its images and sessions stay, unless `cascade`: then they and all messages go with it, in one atomic batch.
        Raises `TooLargeError`, and removes nothing, where the driver takes no batch of that size.
        """
        self._call(self._inner.delete_container, container_id, cascade=cascade)
