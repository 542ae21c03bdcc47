"""Feedback on threads and their messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from ..._arguments import checked_arguments
from ..._errors import ConflictError, CorruptDataError, NotFoundError
from ..._filters import ALL, All
from ...driver import Check, Driver, Write
from ...records import FeedbackRecord, ThreadRecord, as_record, utc_now
from ...structures import Collection, Counter, Index, Listing, ModelCodec, Plan, ReadSet, RepairReport, transact
from .._formats import FEEDBACK
from ._saving import created_at

__all__ = ["FeedbackStore"]

_BATCH = 20
"""How many records are removed at a time; each is a document and its index entries."""


@checked_arguments
class FeedbackStore:
    """Feedback by id, thread, message, user, agent, type and rating, newest first. It is deleted with its thread."""

    def __init__(self, driver: Driver, threads: Collection[ThreadRecord]) -> None:
        self._driver = driver
        self._threads = threads
        self._count = Counter(driver, "feedback")
        self._records: Collection[FeedbackRecord] = Collection(
            driver,
            "feedback",
            ModelCodec(FeedbackRecord, FEEDBACK),
            id_of=lambda record: record.id,
            indexes=[
                Index("thread", lambda record: record.thread_id),
                Index("message", _message),
                Index("user", lambda record: record.user_id),
                Index("agent", lambda record: record.agent_name),
                Index("type", lambda record: record.feedback_type),
                Index("rating", lambda record: None if record.rating is None else str(record.rating)),
            ],
            created_at=created_at,
        )

    async def create(
        self,
        thread_id: str | None,
        *,
        rating: int | None = None,
        comment: str | None = None,
        message_id: str | None = None,
        feedback_type: str = "rating",
        query: str | None = None,
        response: str | None = None,
        correction: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        agent_name: str | None = None,
        id: str | None = None,
    ) -> FeedbackRecord:
        """Store feedback. User and agent default to the thread's. Two driver calls.

        `None` for the thread: feedback on an agent as such, which is kept until it is deleted. Does not check whether the
        message exists. Raises `NotFoundError` if the thread does not exist,
        `ConflictError` if the id is taken, `InvalidValueError` for a rating that is not 1 to 5.
        """
        fields = {
            "id": uuid4().hex if id is None else id,
            "thread_id": thread_id,
            "message_id": message_id,
            "user_id": user_id or "",
            "agent_name": agent_name or "",
            "rating": rating,
            "comment": comment,
            "feedback_type": feedback_type,
            "query": query,
            "response": response,
            "correction": correction,
            "metadata": dict(metadata or {}),
            "created_at": utc_now(),
        }
        theirs = [field for field, given in (("user_id", user_id), ("agent_name", agent_name)) if given is None]
        return await self._new(as_record(FeedbackRecord, fields), theirs)

    async def add(self, record: FeedbackRecord | Mapping[str, Any]) -> FeedbackRecord:
        """Store feedback from a whole record, with its time, as an import does. Two driver calls.

        Raises `NotFoundError` if its thread does not exist, and `ConflictError` if the id is taken.
        """
        return await self._new(as_record(FeedbackRecord, record), [])

    async def _new(self, record: FeedbackRecord, of_thread: Sequence[str]) -> FeedbackRecord:
        """Store feedback whose fields `of_thread` are those of its thread."""
        thread_id = record.thread_id
        at, shard = self._records.key(record.id), self._count.shard()
        of = None if thread_id is None else self._threads.key(thread_id)

        def plan(reads: ReadSet) -> Plan[FeedbackRecord]:
            thread = None if of is None or thread_id is None else self._threads.decode(reads[of], thread_id)
            if thread is None and thread_id is not None:
                raise NotFoundError(f"there is no thread {thread_id!r}: create it first")
            if reads[at] is not None:
                raise ConflictError(
                    f"the feedback {record.id!r} already exists: choose another id", items={at: reads[at]}
                )
            theirs = {} if thread is None else {"user_id": thread.user_id, "agent_name": thread.agent_name}
            full = record.model_copy(update={field: theirs[field] for field in theirs if field in of_thread})
            there = [] if of is None else [Check(of)]
            return Plan([*there, *self._records.plan_save(reads, full), self._count.plan(reads, 1)], full)

        keys = [shard, at] if of is None else [of, shard, at]
        return await transact(self._driver, keys, plan, assume={at: None})

    async def get(self, id: str) -> FeedbackRecord | None:
        """Return the feedback, or `None` if it does not exist or its thread was deleted."""
        record = await self._records.get(id)
        if record is None or record.thread_id is None:
            return record
        return record if await self._there([record]) else None

    async def exists(self, id: str) -> bool:
        """Return whether the feedback and its thread exist."""
        return await self.get(id) is not None

    def list(
        self,
        *,
        thread_id: str | All = ALL,
        message_id: str | All = ALL,
        user_id: str | All = ALL,
        agent_name: str | All = ALL,
        feedback_type: str | All = ALL,
        rating: int | All = ALL,
        min_rating: int | None = None,
        max_rating: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        offset: int = 0,
    ) -> Listing[FeedbackRecord]:
        """List the feedback that matches all given filters, newest first. A page is three driver calls.

        An index finds it by the first given filter of message (with its thread), thread, user, agent, rating and type;
        what the other filters exclude is read and skipped. So are the first `offset` records; a cursor continues
        without reading them.
        """
        index, value = self._index(thread_id, message_id, user_id, agent_name, feedback_type, rating)

        def wanted(record: FeedbackRecord) -> bool:
            return (
                thread_id in (ALL, record.thread_id)
                and message_id in (ALL, record.message_id)
                and user_id in (ALL, record.user_id)
                and agent_name in (ALL, record.agent_name)
                and feedback_type in (ALL, record.feedback_type)
                and rating in (ALL, record.rating)
                and (min_rating is None or (record.rating is not None and record.rating >= min_rating))
                and (max_rating is None or (record.rating is not None and record.rating <= max_rating))
            )

        async def fetch(
            position: str | None, count: int
        ) -> tuple[Sequence[FeedbackRecord | CorruptDataError], str | None]:
            records = self._records
            listing = records.all if index is None else lambda **more: records.find(index, value, **more)
            page = await listing(limit=count, cursor=position).with_errors()
            found = [record for record in page if isinstance(record, CorruptDataError) or wanted(record)]
            there = await self._there([record for record in found if not isinstance(record, CorruptDataError)])
            shown = [
                each
                for each in found
                if isinstance(each, CorruptDataError) or each.thread_id is None or each.thread_id in there
            ]
            return shown, page.cursor

        query = [thread_id, message_id, user_id, agent_name, feedback_type, rating, min_rating, max_rating]
        return Listing(["feedback", *map(str, query)], fetch, limit=limit, cursor=cursor, offset=offset)

    async def delete(self, id: str) -> bool:
        """Delete feedback; return whether there was any."""
        return await self._remove([id]) == 1

    async def count(self) -> int:
        """Return the exact number. One driver call."""
        return await self._count.total()

    async def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return await self._records.repair(dry_run=dry_run)

    # For threads, which feedback belongs to.

    async def clear(self, thread_id: str) -> int:
        """Delete all feedback of a thread, in batches; return how many. Safe to repeat."""
        ids = await self._records.ids("thread", thread_id)
        removed = sum([await self._remove(ids[start : start + _BATCH]) for start in range(0, len(ids), _BATCH)])
        if ids and await self._records.ids("thread", thread_id, limit=1):  # of unreadable feedback
            await self._records.forget("thread", thread_id)
        return removed

    async def _remove(self, ids: Sequence[str]) -> int:
        keys = {id: self._records.key(id) for id in ids}

        def plan(reads: ReadSet) -> Plan[int]:
            writes: list[Write] = []
            removed = 0
            for id, at in keys.items():
                if reads[at] is not None:
                    writes += self._records.plan_delete(reads, id)
                    removed += 1
            return Plan([*writes, self._count.plan(reads, -removed)] if removed else [], removed)

        return await transact(self._driver, [*keys.values(), self._count.shard()], plan)

    async def _there(self, records: Sequence[FeedbackRecord]) -> set[str]:
        """Return which of the threads exist: feedback is hidden with its thread, and freed a little later."""
        ids = sorted({record.thread_id for record in records if record.thread_id is not None})
        found = await self._driver.get([self._threads.key(id) for id in ids], values=False) if ids else []
        return {id for id, item in zip(ids, found, strict=True) if item is not None}

    def _index(
        self,
        thread_id: str | All,
        message_id: str | All,
        user_id: str | All,
        agent_name: str | All,
        feedback_type: str | All,
        rating: int | All,
    ) -> tuple[str | None, str]:
        if thread_id is not ALL and message_id is not ALL:
            return "message", _pair(thread_id, message_id)
        named = {"thread": thread_id, "user": user_id, "agent": agent_name}
        named |= {"rating": ALL if rating is ALL else str(rating), "type": feedback_type}
        return next(((index, value) for index, value in named.items() if value is not ALL), (None, ""))


def _message(record: FeedbackRecord) -> str | None:
    if record.message_id is None or record.thread_id is None:
        return None
    return _pair(record.thread_id, record.message_id)


def _pair(*parts: str) -> str:
    return to_json(parts).decode()
