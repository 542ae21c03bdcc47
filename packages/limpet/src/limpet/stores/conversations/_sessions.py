"""AgentX's sessions, with their messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from ..._arguments import checked_arguments
from ..._errors import ConflictError, NotFoundError
from ...driver import Driver, Key, Write, name
from ...records import Message, SessionRecord, as_record
from ...structures import Collection, Index, Listing, ModelCodec, Plan, ReadSet, RepairReport, transact
from .._formats import MESSAGE, SESSION
from .._removal import Removal, Retained, remove
from ._lineage import Lineage, family, lineage
from ._messages import Messages
from ._saving import created_at, save_record, stamped

__all__ = ["SessionRepository"]

R = TypeVar("R")

_MESSAGES = name("messages")


@checked_arguments
class SessionRepository:
    """Sessions by id, image and container, newest first; messages in the order they were added.

    A session and its messages are created and deleted together: the session's own batch creates and deletes the head of
    the messages' log.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._records = Collection(
            driver,
            "sessions",
            ModelCodec(SessionRecord, SESSION),
            id_of=lambda record: record.session_id,
            indexes=[
                Index("image", lambda record: record.image_id),
                Index("container", lambda record: record.container_id),
                family(_ancestors),
            ],
            created_at=created_at,
        )
        self._messages = Messages(
            driver,
            _MESSAGES,
            "session",
            Message.load,
            MESSAGE,
            "save it first, or pass create=True to create it with the message",
        )

    async def save_session(self, session: SessionRecord | Mapping[str, Any]) -> SessionRecord:
        """Store a whole session, new or not, and return it as stored, with its timestamps. Its messages are kept."""
        record = as_record(SessionRecord, session)
        return await save_record(self._driver, self._records, record, log=self._messages.log(record.session_id))

    async def find_session_by_id(self, session_id: str) -> SessionRecord | None:
        """Return the session or `None`."""
        return await self._records.get(session_id)

    async def find_session_by_image_id(self, image_id: str) -> SessionRecord | None:
        """Return the newest session of an image, or `None`."""
        page = await self._records.find("image", image_id, limit=1)
        return page[0] if page else None

    def find_sessions_by_container_id(
        self, container_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[SessionRecord]:
        """List the sessions of a container, newest first."""
        return self._records.find("container", container_id, limit=limit, cursor=cursor)

    def find_all_sessions(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[SessionRecord]:
        """List all sessions, newest first."""
        return self._records.all(limit=limit, cursor=cursor)

    async def session_exists(self, session_id: str) -> bool:
        """Return whether there is such a session."""
        return await self._records.exists(session_id)

    async def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return await self._records.repair(dry_run=dry_run)

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with its messages, atomically. Does nothing if it does not exist."""
        await remove(self._driver, [self.removal(session_id)])

    # Forks.

    async def fork(self, session_id: str, *, at: int | str | None = None, id: str | None = None) -> SessionRecord:
        """Create a session that shares the messages up to and including `at` (a seq or an id; default: all).

        The same few driver calls whatever the length: nothing is copied, and shared messages keep their ids, times and
        numbers. Image and container are the parent's. Raises `NotFoundError` if the session or message does not exist,
        `ConflictError` if the id is taken, `TooLargeError` for a fork of forks, more than 128 deep.
        """
        return await self.fork_with(session_id, at, {} if id is None else {"session_id": id}, [], _alone)

    async def fork_with(
        self,
        session_id: str,
        at: int | str | None,
        change: Mapping[str, Any],
        keys: Sequence[Key],
        plan: Callable[[ReadSet, SessionRecord], tuple[Sequence[Write], R]],
    ) -> R:
        """Fork in the batch of what the fork belongs to. `plan` gets what is known (including `keys`) and the fork."""
        if isinstance(at, str):
            at = await self._messages.seq_of(session_id, at)
        change = {"session_id": uuid4().hex, **change}
        fork_id = change["session_id"]
        parent, own = self._records.key(session_id), self._records.key(fork_id)

        def planned(reads: ReadSet, writes: list[Write], end: int) -> Plan[R]:
            of = self._records.decode(reads[parent], session_id)
            if of is None:
                raise NotFoundError(f"there is no session {session_id!r}")
            lineage = {"parent_session_id": session_id, "ancestors": [*_ancestors(of), session_id]}
            fork = of.model_copy(update={**lineage, "created_at": None, "updated_at": None, **change})
            fork = stamped(fork, None)
            more, result = plan(reads, fork)
            return Plan([*writes, *self._records.plan_save(reads, fork, if_absent=True), *more], result)

        log = self._messages.log(session_id)
        try:
            return await log.transact_fork(self._messages.log(fork_id), at, [parent, own, *keys], planned)
        except ConflictError:
            raise ConflictError(
                f"the session {fork_id!r}, or what it belongs to, already exists: choose another id"
            ) from None
        except NotFoundError:
            if at is None or not await self.session_exists(session_id):
                raise NotFoundError(f"there is no session {session_id!r} to fork") from None
            raise NotFoundError(f"there is no message {at} in the session {session_id!r} to fork at") from None

    async def lineage(self, session_id: str) -> Lineage[SessionRecord]:
        """Return what a session was forked from, and what was forked from it, directly or not, and deleted ancestors.

        Four driver calls for a family of up to 200. Raises `NotFoundError`.
        """
        return await lineage(self._records, session_id, _ancestors, "session")

    # Messages.

    async def add_message(
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
        wanted = Message.of(message)
        try:
            return await self._messages.add(session_id, wanted, unique=unique)
        except NotFoundError:
            if create is False:
                raise
        return await self._in_session(session_id, create, lambda: self._messages.add(session_id, wanted, unique=unique))

    async def add_messages(
        self,
        session_id: str,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        create: bool | SessionRecord | Mapping[str, Any] = False,
    ) -> Sequence[Message]:
        """Append messages, all or none, and return them as stored. `create` and errors are as in `add_message`."""
        wanted = [Message.of(message) for message in messages]
        return await self._in_session(session_id, create, lambda: self._messages.add_all(session_id, wanted))

    async def pop_message(self, session_id: str) -> Message | None:
        """Remove the newest message and return it; `None` if there is none. Forks keep it.

        Concurrent calls get different messages. An unreadable message is removed and logged, and the one before it is
        returned. Three driver calls.
        """
        return await self._messages.pop(session_id)

    async def _in_session(
        self, session_id: str, create: bool | SessionRecord | Mapping[str, Any], add: Callable[[], Awaitable[R]]
    ) -> R:
        """Call `add`. If the session does not exist and `create` is set, create it."""
        while True:
            try:
                return await add()
            except NotFoundError:
                if create is False:
                    raise
            record = SessionRecord(session_id=session_id) if create is True else as_record(SessionRecord, create)
            await self._ensure(record.model_copy(update={"session_id": session_id}))

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
        return self._messages.list(session_id, last=last, before=before, after=after, limit=limit, cursor=cursor)

    async def count_messages(self, session_id: str) -> int:
        """Return how many messages a session has, without reading them; 0 if the session does not exist."""
        return await self._messages.count(session_id)

    async def clear_messages(self, session_id: str) -> int:
        """Remove all messages of a session, but not the session; return how many there were."""
        return await self._messages.clear(session_id)

    async def truncate_after_message(self, session_id: str, message: str | int) -> int:
        """Remove every message after one, given by id or seq, atomically; return how many were removed.

        Raises `NotFoundError` for an unknown id.
        """
        return await self._messages.truncate_after(session_id, message)

    # For images and containers, which sessions belong to, and for retention.

    def find_sessions_by_image_id(
        self, image_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[SessionRecord]:
        """List the sessions of an image, newest first."""
        return self._records.find("image", image_id, limit=limit, cursor=cursor)

    def removal(self, session_id: str) -> Removal:
        """Return how to remove a session with its messages."""
        log = self._messages.log(session_id)

        def plan(reads: ReadSet) -> list[Write]:
            return [*self._records.plan_delete(reads, session_id), *log.plan_delete(reads)]

        return Removal([self._records.key(session_id), *log.keys], plan)

    async def removals(self, session_id: str) -> Sequence[Removal]:
        """Return how to remove a session. Nothing else belongs to it."""
        return [self.removal(session_id)]

    @property
    def retained(self) -> Retained:
        """Return what a retention policy acts on."""
        return Retained(self._records, self.removals, logs=_MESSAGES)

    async def _ensure(self, record: SessionRecord) -> None:
        """Create a session with its log, or whichever of the two is missing."""
        log = self._messages.log(record.session_id)
        at = self._records.key(record.session_id)
        keys = [at, *log.keys]

        def plan(reads: ReadSet) -> Plan[None]:
            own = [] if reads[at] is not None else self._records.plan_save(reads, stamped(record, None))
            return Plan([*own, *log.plan_create(reads)], None)

        await transact(self._driver, keys, plan, assume=dict.fromkeys(keys))


def _ancestors(record: SessionRecord) -> Sequence[str]:
    return record.ancestors or ()


def _alone(reads: ReadSet, fork: SessionRecord) -> tuple[Sequence[Write], SessionRecord]:
    return [], fork
