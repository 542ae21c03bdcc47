"""Conversations as the records of an export, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from .._errors import CorruptDataError, NotFoundError
from ..records import SessionRecord, ThreadRecord
from ..stores import FORMATS, Persistence
from ..structures import Listing, Migrations, dump_record

__all__ = ["feedback_elsewhere", "sessions", "threads"]

_COUNTED = frozenset({"message_count", "active_at"})

Damaged: TypeAlias = dict[str, str]
"""Keys of what cannot be read, and why."""

R = TypeVar("R")


async def threads(
    persistence: Persistence, ids: Sequence[str], user_id: str | None, damaged: Damaged
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield threads, oldest first, each with its messages and feedback."""
    if ids:
        for each in ids:
            thread = await persistence.threads.get(each)
            if thread is None or (user_id is not None and thread.user_id != user_id):
                raise NotFoundError(
                    f"there is no thread {each!r}{'' if user_id is None else f' of the user {user_id!r}'}"
                )
            async for records in _thread(persistence, thread, damaged):
                yield records
        return
    listing = persistence.threads.list() if user_id is None else persistence.threads.list(user_id=user_id)
    async for page in _pages(listing, "a thread", damaged):
        for thread in page:
            async for records in _thread(persistence, thread, damaged):
                yield records


async def _thread(
    persistence: Persistence, thread: ThreadRecord, damaged: Damaged
) -> AsyncIterator[list[dict[str, Any]]]:
    yield [{"kind": "thread", "id": thread.id, "record": _plain(thread, FORMATS["thread"], _COUNTED)}]
    where = f"a message of the thread {thread.id!r}"
    async for page in _pages(persistence.threads.get_messages(thread.id), where, damaged):
        yield [
            {"kind": "message", "thread": thread.id, "seq": each.seq, "record": _plain(each, FORMATS["thread message"])}
            for each in page
        ]
    where = f"feedback on the thread {thread.id!r}"
    async for found in _pages(persistence.feedback.list(thread_id=thread.id), where, damaged):
        yield [
            {"kind": "feedback", "thread": thread.id, "id": each.id, "record": _plain(each, FORMATS["feedback"])}
            for each in found
        ]


async def feedback_elsewhere(
    persistence: Persistence, user_id: str, damaged: Damaged
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield a user's feedback on threads of others, and on none."""
    listing = persistence.feedback.list(user_id=user_id)
    async for page in _pages(listing, f"feedback of the user {user_id!r}", damaged):
        records: list[dict[str, Any]] = []
        for each in page:
            thread = None if each.thread_id is None else await persistence.threads.get(each.thread_id)
            if thread is None or thread.user_id != user_id:
                records.append(
                    {
                        "kind": "feedback",
                        "thread": each.thread_id,
                        "id": each.id,
                        "record": _plain(each, FORMATS["feedback"]),
                    }
                )
        yield records


async def sessions(
    persistence: Persistence, ids: Sequence[str], damaged: Damaged
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield containers, images, and sessions, each with its messages."""
    if ids:
        for each in ids:
            session = await persistence.sessions.find_session_by_id(each)
            if session is None:
                raise NotFoundError(f"there is no session {each!r}")
            async for records in _session(persistence, session, damaged):
                yield records
        return
    async for containers in _pages(persistence.containers.find_all_containers(), "a container", damaged):
        yield [
            {"kind": "container", "id": each.container_id, "record": _plain(each, FORMATS["container"])}
            for each in containers
        ]
    async for images in _pages(persistence.images.find_all_images(), "an image", damaged):
        yield [{"kind": "image", "id": each.image_id, "record": _plain(each, FORMATS["image"])} for each in images]
    async for page in _pages(persistence.sessions.find_all_sessions(), "a session", damaged):
        for session in page:
            async for records in _session(persistence, session, damaged):
                yield records


async def _session(
    persistence: Persistence, session: SessionRecord, damaged: Damaged
) -> AsyncIterator[list[dict[str, Any]]]:
    at = session.session_id
    yield [{"kind": "session", "id": at, "record": _plain(session, FORMATS["session"])}]
    async for page in _pages(persistence.sessions.get_messages(at), f"a message of the session {at!r}", damaged):
        yield [
            {"kind": "message", "session": at, "seq": each.seq, "record": _plain(each, FORMATS["message"])}
            for each in page
        ]


async def _pages(listing: Listing[R], where: str, damaged: Damaged) -> AsyncIterator[list[R]]:
    """Yield a listing in parts, and note what cannot be read."""

    def note(error: CorruptDataError) -> None:
        damaged[error.key or f"{where} ({len(damaged)})"] = str(error)

    readable = listing.skip_unreadable(note)
    async for part in readable.parts():
        yield [record for record in part if readable.is_readable(record)]


def _plain(record: BaseModel, migrations: Migrations, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return a record as it is stored, with its version."""
    plain: dict[str, Any] = from_json(dump_record(record, migrations, without=without))
    return plain
