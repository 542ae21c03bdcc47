"""Threads and sessions from an export, compared with those that are there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from pydantic_core import to_json

from .._errors import CorruptDataError
from ..records import ContainerRecord, FeedbackRecord, ImageRecord, Message, SessionRecord, ThreadMessage, ThreadRecord
from ..stores import FORMATS, Persistence
from ..structures import Listing, Migrations, dump_record, load_record, migrated_object
from ._tally import Tally

__all__ = ["ConversationImport"]

M = TypeVar("M")

_CHANGING = frozenset({"updated_at", "message_count", "active_at"})
"""Fields of a record that do not make it a different one."""

_Said: TypeAlias = Message | ThreadMessage


class _Store(Protocol):
    """What threads and sessions have in common for an import."""

    async def add(self, messages: list[Any]) -> None: ...

    async def cut(self, after: str | None) -> None: ...

    def there(self) -> AsyncGenerator[Any, None]: ...


class ConversationImport:
    """Takes the records of an export in order. One conversation at a time is compared with the one that is there."""

    def __init__(self, persistence: Persistence, tally: Tally, dry_run: bool) -> None:
        self._persistence = persistence
        self._tally = tally
        self._dry = dry_run
        self._current: tuple[str, str] | None = None
        self._store: _Store | None = None
        self._there: AsyncGenerator[Any, None] | None = None
        """What the conversation in the database still holds, as long as all of it so far was equal; `None` after that."""
        self._last: str | None = None
        self._ignoring = False
        self._waiting: list[_Said] = []

    async def take(self, record: dict[str, Any], where: str) -> None:
        """Import one record. Raises `CorruptDataError`, which says `where`, if it is invalid."""
        if record["kind"] == "message":
            await self._message(record, where)
            return
        if record["kind"] != "feedback":
            await self.finish()
        take = {
            "container": self._container,
            "image": self._image,
            "session": self._session,
            "thread": self._thread,
            "feedback": self._feedback,
        }.get(record["kind"])
        if take is None:
            raise CorruptDataError(f"{where}: {record['kind'][:40]!r} is not a kind of record that an export has")
        if not isinstance(record.get("record"), dict):
            raise CorruptDataError(f"{where}: it has no record")
        await take(record["record"], where)

    async def finish(self) -> None:
        """The conversation that was taken last is complete."""
        await self.flush()
        if self._there is not None and self._current is not None and self._tally.on_conflict == "replace":
            more = await anext(self._there, None)
            if more is not None and self._differs(f"{self._current[0]} {self._current[1]!r}, which goes on"):
                await self._cut()
        await self._stop_comparing()
        self._current = self._store = None

    async def _stop_comparing(self) -> None:
        if self._there is not None:
            await self._there.aclose()
            self._there = None

    async def flush(self) -> None:
        """Write the messages that were taken so far."""
        if self._waiting and self._store is not None and not self._dry:
            await self._store.add(self._waiting)
        self._waiting = []

    # Conversations.

    async def _thread(self, record: dict[str, Any], where: str) -> None:
        given = _read(ThreadRecord, record, FORMATS["thread"], where)
        threads = self._persistence.threads
        found = await threads.get(given.id)
        self._begin("thread", given.id, _Thread(self._persistence, given.id), found is not None)
        if found is None:
            self._tally.report.added += 1
            if not self._dry:
                await threads.add(given)
        elif _same(found, given, FORMATS["thread"]):
            self._tally.report.equal += 1
        elif self._differs(f"thread {given.id!r}") and not self._dry:
            await threads.update(given.id, title=given.title, metadata=given.metadata)

    async def _session(self, record: dict[str, Any], where: str) -> None:
        given = _read(SessionRecord, record, FORMATS["session"], where)
        sessions = self._persistence.sessions
        found = await sessions.find_session_by_id(given.session_id)
        store = _Session(self._persistence, given.session_id)
        self._begin("session", given.session_id, store, found is not None)
        await self._one(found, given, FORMATS["session"], f"session {given.session_id!r}", sessions.save_session)

    def _begin(self, kind: str, id: str, store: _Store, exists: bool) -> None:
        self._current, self._store, self._ignoring, self._last = (kind, id), store, False, None
        self._there = store.there() if exists else None

    async def _message(self, record: dict[str, Any], where: str) -> None:
        if self._current is None or record.get(self._current[0]) != self._current[1]:
            raise CorruptDataError(f"{where}: this message does not belong to the conversation before it")
        if not isinstance(record.get("record"), dict):
            raise CorruptDataError(f"{where}: it has no record")
        kind, id = self._current
        stored = migrated_object(
            to_json(record["record"]), FORMATS["thread message"] if kind == "thread" else FORMATS["message"], where
        )
        said: _Said = load_record(ThreadMessage, stored, where) if kind == "thread" else Message.load(stored, where)
        if self._ignoring:
            self._tally.report.skipped += 1
            return
        if self._there is not None:
            found = await anext(self._there, None)
            if found is not None and dump_record(found) == dump_record(said):
                self._tally.report.equal += 1
                self._last = said.id
                return
            if found is not None:
                if not self._differs(f"message {said.id!r} of the {kind} {id!r}"):
                    self._ignoring = True
                    await self._stop_comparing()
                    return
                await self._cut()
            await self._stop_comparing()  # from here on, the file continues what is there
        self._tally.report.added += 1
        self._waiting.append(said)
        if len(self._waiting) >= 200:
            await self.flush()

    async def _cut(self) -> None:
        """Remove what is there after the last message that was equal."""
        if self._store is not None and not self._dry:
            await self._store.cut(self._last)

    # Single records.

    async def _container(self, record: dict[str, Any], where: str) -> None:
        given, store = _read(ContainerRecord, record, FORMATS["container"], where), self._persistence.containers
        found = await store.find_container_by_id(given.container_id)
        await self._one(found, given, FORMATS["container"], f"container {given.container_id!r}", store.save_container)

    async def _image(self, record: dict[str, Any], where: str) -> None:
        given, store = _read(ImageRecord, record, FORMATS["image"], where), self._persistence.images
        found = await store.find_image_by_id(given.image_id)
        await self._one(found, given, FORMATS["image"], f"image {given.image_id!r}", store.save_image)

    async def _feedback(self, record: dict[str, Any], where: str) -> None:
        await self.flush()
        given, store = _read(FeedbackRecord, record, FORMATS["feedback"], where), self._persistence.feedback
        found = await store.get(given.id)

        async def save(feedback: FeedbackRecord) -> None:
            if found is not None:
                await store.delete(feedback.id)
            await store.add(feedback)

        await self._one(found, given, FORMATS["feedback"], f"feedback {given.id!r}", save)

    async def _one(
        self, found: Any, given: Any, migrations: Migrations, called: str, save: Callable[[Any], Awaitable[object]]
    ) -> None:
        if found is None:
            self._tally.report.added += 1
        elif _same(found, given, migrations):
            self._tally.report.equal += 1
            return
        elif not self._differs(called):
            return
        if not self._dry:
            await save(given)

    def _differs(self, called: str) -> bool:
        """Note a record that is there and different; return whether it is to be replaced."""
        return self._tally.conflict(called)


class _Thread:
    def __init__(self, persistence: Persistence, id: str) -> None:
        self._threads, self._id = persistence.threads, id

    async def add(self, messages: list[ThreadMessage]) -> None:
        await self._threads.add_messages(self._id, messages)

    async def cut(self, after: str | None) -> None:
        if after is None:
            await self._threads.clear_messages(self._id)
        else:
            await self._threads.truncate_after_message(self._id, after)

    def there(self) -> AsyncGenerator[ThreadMessage, None]:
        return _each(self._threads.get_messages(self._id))


class _Session:
    def __init__(self, persistence: Persistence, id: str) -> None:
        self._sessions, self._id = persistence.sessions, id

    async def add(self, messages: list[Message]) -> None:
        await self._sessions.add_messages(self._id, messages)

    async def cut(self, after: str | None) -> None:
        if after is None:
            await self._sessions.clear_messages(self._id)
        else:
            await self._sessions.truncate_after_message(self._id, after)

    def there(self) -> AsyncGenerator[Message, None]:
        return _each(self._sessions.get_messages(self._id))


def _read(model: Any, record: dict[str, Any], migrations: Migrations, where: str) -> Any:
    return load_record(model, migrated_object(to_json(record).decode(), migrations, where), where)


def _same(found: Any, given: Any, migrations: Migrations) -> bool:
    return dump_record(found, migrations, without=_CHANGING) == dump_record(given, migrations, without=_CHANGING)


async def _each(listing: Listing[M]) -> AsyncGenerator[M, None]:
    async for record in listing:
        yield record
