"""ADK's sessions: each is a thread, its events are the messages, and its state is in the thread's metadata."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any
from weakref import WeakValueDictionary

from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event
from google.adk.platform import time as platform_time
from google.adk.platform import uuid as platform_uuid
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse
from limpet import ALL, ConflictError, CorruptDataError, NotFoundError, Persistence
from limpet.records import ThreadMessage, ThreadRecord
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from ._database import Database, joined
from ._state import Changes, Scopes, merged

__all__ = ["LimpetSessionService"]

_logger = logging.getLogger("limpet")

_OURS = "adk:"
"""Begins the ids of threads that are sessions of ADK."""
_FIELD = "adk"
_PART = 100
"""How many events are read at a time when looking for the first one after some moment."""


class _Kept(BaseModel):
    """What the metadata of a session's thread holds, below `adk`."""

    id: str
    state: dict[str, Any]
    revision: str
    """Another one after each event: a writer who knows an older one is stale."""
    updated: float
    newest: str | None = None
    """The id of the newest event."""

    @staticmethod
    def in_metadata(metadata: dict[str, Any], of: str) -> _Kept:
        try:
            return _Kept.model_validate(metadata.get(_FIELD))
        except ValidationError:
            raise CorruptDataError(f"the metadata of the thread {of!r} is not that of a session of ADK") from None

    def within(self, metadata: dict[str, Any]) -> dict[str, Any]:
        return {**metadata, _FIELD: self.model_dump()}


class LimpetSessionService(Database, BaseSessionService):
    """ADK's sessions on any database: `Runner(..., session_service=LimpetSessionService("sqlite:///agent.db"))`.

    An event and all its changes of state, of the session, the user and the app, are stored in one batch. Who appends to
    a session that was changed since it was read gets ADK's `StaleSessionError`, from any process.
    """

    def __init__(self, database: str | Persistence | None) -> None:
        super().__init__(database)
        self._threads = self.persistence.threads
        self._scopes = Scopes(self.persistence.driver)
        self._turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    @override
    async def create_session(
        self,
        *,
        app_name: str,
        user_id: str,
        state: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Create a session. Raises ADK's `AlreadyExistsError` if the id is taken, also by another process."""
        id = (session_id or "").strip() or platform_uuid.new_uuid()
        changes = Changes.of(state)
        revision, now = platform_uuid.new_uuid(), platform_time.get_time()
        kept = _Kept(id=id, state=changes.session, revision=revision, updated=now)
        thread_id = _thread_id(app_name, user_id, id)
        try:
            await self._threads.create(
                id=thread_id,
                user_id=user_id,
                agent_name=app_name,
                metadata=kept.within({}),
                also=self._scopes.changing(app_name, user_id, changes),
            )
        except ConflictError:
            if await self._threads.exists(thread_id):
                raise AlreadyExistsError(f"Session with id {id} already exists.") from None
            raise
        app, users = await self._scopes.of_app(app_name, user_id)
        return _session(app_name, user_id, kept, merged(app, users[user_id], kept.state))

    @override
    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        """Return the session with its events in the order in which they were appended, or `None`."""
        id = session_id.strip() if session_id else session_id
        thread_id = _thread_id(app_name, user_id, id)
        kept: _Kept | None = None
        while (record := await self._threads.get(thread_id)) is not None:
            before, kept = kept, _Kept.in_metadata(record.metadata, thread_id)
            events = await self._events(thread_id, config or GetSessionConfig())
            as_kept = not events or events[-1].id == kept.newest
            if as_kept or (before is not None and before.revision == kept.revision):
                app, users = await self._scopes.of_app(app_name, user_id)
                return _session(app_name, user_id, kept, merged(app, users[user_id], kept.state), events)
        return None

    @override
    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        """List the sessions of an app, or of one of its users, with their state and without events.

        The one that was changed longest ago comes first.
        """
        whose = ALL if user_id is None else user_id
        found = self._threads.list(agent_name=app_name, user_id=whose).skip_unreadable(_log_skipped)
        kept = [(record.user_id, own) async for record in found if (own := _kept_or_none(record)) is not None]
        app, users = await self._scopes.of_app(app_name, *dict.fromkeys(user for user, _ in kept))
        sessions = [_session(app_name, user, own, merged(app, users[user], own.state)) for user, own in kept]
        sessions.sort(key=lambda session: (session.last_update_time, session.user_id, session.id))
        return ListSessionsResponse(sessions=sessions)

    @override
    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Delete a session with its events, if there is one. The state of its user and app stays."""
        await self._threads.delete(_thread_id(app_name, user_id, session_id.strip() if session_id else session_id))

    @override
    async def get_user_state(self, *, app_name: str, user_id: str) -> dict[str, Any]:
        """Return the state of a user, without the prefix `user:`; empty if there is none."""
        return await self._scopes.of_user(app_name, user_id)

    async def erase_user(self, *, app_name: str, user_id: str) -> int:
        """Delete all sessions of a user in an app, and the user's state; return how many sessions. Safe to repeat."""
        found = self._threads.list(agent_name=app_name, user_id=user_id).skip_unreadable(_log_skipped)
        ids = [record.id async for record in found if record.id.startswith(_OURS)]
        for id in ids:
            await self._threads.delete(id)
        await self._scopes.delete(app_name, user_id)
        return len(ids)

    @override
    async def append_event(self, session: Session, event: Event) -> Event:
        """Store an event with its changes of state, all or nothing, and add it to `session`.

        An equal event that `session` has already is not added again, so a call may be repeated. Raises ADK's
        `StaleSessionError` if the stored session is newer, and `SessionNotFoundError` if there is none.
        """
        if event.partial:
            return event
        thread_id = _thread_id(session.app_name, session.user_id, session.id)
        async with self._turns.setdefault((id(asyncio.get_running_loop()), thread_id), asyncio.Lock()):
            if any(known.id == event.id and known == event for known in session.events):
                return event
            self._apply_temp_state(session, event)
            event = self._trim_temp_delta_state(event)
            changes = Changes.of(event.actions.state_delta)
            revision = platform_uuid.new_uuid()

            def changed(metadata: dict[str, Any]) -> dict[str, Any]:
                kept = _Kept.in_metadata(metadata, thread_id)
                _refuse_stale(session, kept)
                new = {"revision": revision, "updated": event.timestamp, "newest": event.id}
                return kept.model_copy(update={"state": {**kept.state, **changes.session}, **new}).within(metadata)

            try:
                await self._threads.add_messages(
                    thread_id,
                    [_message(event)],
                    metadata=changed,
                    also=self._scopes.changing(session.app_name, session.user_id, changes),
                )
            except NotFoundError:
                raise SessionNotFoundError(f"Session {session.id} not found.") from None
            session.last_update_time = event.timestamp
            session._storage_update_marker = revision
            return self._commit_event_to_session(session, event)

    @override
    async def flush(self) -> None:
        """Does nothing: an event is stored when `append_event` returns."""

    # Implementation.

    async def _events(self, thread_id: str, config: GetSessionConfig) -> list[Event]:
        newest, since = config.num_recent_events, config.after_timestamp
        if newest == 0:
            return []
        if since is None:
            messages = self._threads.get_messages(thread_id, last=newest).skip_unreadable(_log_skipped)
            found = await messages if newest is not None else [message async for message in messages]
            return _readable(found)
        events: list[Event] = []
        cursor = None
        while newest is None or len(events) < newest:
            part = _PART if newest is None else min(_PART, newest - len(events))
            listing = self._threads.get_messages(thread_id, last=part, cursor=cursor)
            page = await listing.skip_unreadable(_log_skipped)
            read = _readable(page)
            old = [at for at, event in enumerate(read) if event.timestamp < since]
            events[:0] = read[old[-1] + 1 :] if old else read
            cursor = page.cursor
            if old or cursor is None:
                break
        return events


def _thread_id(app_name: str, user_id: str, session_id: str) -> str:
    return _OURS + joined(app_name, user_id, session_id)


def _session(
    app_name: str, user_id: str, kept: _Kept, state: dict[str, Any], events: list[Event] | None = None
) -> Session:
    session = Session(
        app_name=app_name,
        user_id=user_id,
        id=kept.id,
        state=state,
        events=events or [],
        last_update_time=kept.updated,
    )
    session._storage_update_marker = kept.revision
    return session


def _refuse_stale(session: Session, kept: _Kept) -> None:
    """By the rules of ADK's `DatabaseSessionService`: the revision decides, or without one, the newest event."""
    known = session._storage_update_marker
    if known is None and kept.updated > session.last_update_time:
        current = kept.newest == (session.events[-1].id if session.events else None)
    else:
        current = known in (None, kept.revision)
    if not current:
        raise StaleSessionError(
            "The session has been modified in storage since it was loaded. "
            "Please reload the session before appending more events."
        )


def _message(event: Event) -> dict[str, Any]:
    fields = event.model_dump(mode="json", exclude_none=True)
    return {"id": event.id, "role": event.author or "event", "content": fields.pop("content", None), "event": fields}


def _readable(messages: Iterable[ThreadMessage]) -> list[Event]:
    """The events in messages; what is none is left out, with a warning."""
    events = []
    for message in messages:
        fields: Any = (message.model_extra or {}).get("event")
        try:
            events.append(Event.model_validate({**fields, "content": message.content}))
        except (TypeError, ValidationError):
            _log_skipped(CorruptDataError(f"the message {message.id!r} is not an event of ADK"))
    return events


def _kept_or_none(record: ThreadRecord) -> _Kept | None:
    if not record.id.startswith(_OURS):
        return None
    try:
        return _Kept.in_metadata(record.metadata, record.id)
    except CorruptDataError as error:
        _log_skipped(error)
        return None


def _log_skipped(error: CorruptDataError) -> None:
    _logger.warning("a session or an event was left out, since it cannot be read: %s", error)
