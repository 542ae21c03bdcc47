"""Threads with their messages, and feedback, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from .._filters import ALL, All
from ..driver import KEEP, Etag, Keep, Key
from ..records import FeedbackRecord, ThreadMessage, ThreadRecord
from ..stores import FeedbackStore as AsyncFeedbackStore
from ..stores import Lineage, NewThread, ThreadStats
from ..stores import ThreadStore as AsyncThreadStore
from ..structures import BatchPart, RepairReport
from ._face import Face
from ._listing import Listing

__all__ = ["FeedbackStore", "ThreadStore"]


class ThreadStore(Face[AsyncThreadStore]):
    """Threads by id, user and agent, newest first; messages in the order they were added."""

    @cached_property
    def feedback(self) -> FeedbackStore:
        """Feedback on the threads and their messages."""
        return FeedbackStore(self._portal, self._inner.feedback)

    def add_message(
        self,
        thread_id: str,
        role: str,
        content: Any = None,
        *,
        id: str | None = None,
        unique: bool = False,
        create: NewThread | None = None,
        **more: Any,
    ) -> ThreadMessage:
        """Append a message and return it as stored, with its id, timestamp and seq.

        `more` is anything else that belongs to it: `metadata`, `name`, `tool_calls`, `tool_call_id`, your own fields.
        One driver call once the thread is known. With `unique`, a message whose id was already added with `unique`,
        even in shared history, is not added again: the stored one is returned. A thread that does not exist is created
        as `create` says; without `create`, `NotFoundError` is raised. Raises `InvalidValueError`.
        """
        return self._call(
            self._inner.add_message, thread_id, role, content, id=id, unique=unique, create=create, **more
        )

    def add_messages(
        self,
        thread_id: str,
        messages: Sequence[ThreadMessage | Mapping[str, Any]],
        *,
        create: NewThread | None = None,
        metadata: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        if_match: Etag | None = None,
        also: BatchPart | None = None,
    ) -> Sequence[ThreadMessage]:
        """Append messages, such as those of a turn, all or none, and return them as stored.

        `metadata` is a function that takes the thread's metadata and returns the new metadata, which is stored in the
        same batch as the messages. It may run again if someone else writes first, so no change is lost; what it raises
        stores nothing. `if_match` is the etag of the thread (`get_with_etag`): `ConflictError` if the thread's record
        has changed. `also` are writes of your own for the same batch. `create` is as in `add_message`. One driver call
        once the thread is known, two with `metadata`, `if_match` or `also`. Raises `NotFoundError`.
        """
        return self._call(
            self._inner.add_messages,
            thread_id,
            messages,
            create=create,
            metadata=metadata,
            if_match=if_match,
            also=also,
        )

    def pop_message(self, thread_id: str) -> ThreadMessage | None:
        """Remove the newest message and return it; `None` if there is none. Forks keep it.

        Concurrent calls get different messages. An unreadable message is removed and logged, and the one before it is
        returned. Three driver calls.
        """
        return self._call(self._inner.pop_message, thread_id)

    def get_messages(
        self,
        thread_id: str,
        *,
        last: int | None = None,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        offset: int = 0,
    ) -> Listing[ThreadMessage]:
        """List the messages of a thread in the order they were added; none if the thread does not exist.

        `before` and `after` are seq numbers, exclusive. `last=50` returns the newest 50, oldest first; the page's
        cursor then leads to the ones before. `offset` skips messages from the start, without reading them.
        """
        return Listing(
            self._portal,
            self._inner.get_messages(
                thread_id, last=last, before=before, after=after, limit=limit, cursor=cursor, offset=offset
            ),
        )

    def update_message(self, thread_id: str, message: str | int, **changes: Any) -> ThreadMessage:
        """Change fields of a message, given by id or seq, and return it. Its id, number and timestamp do not change.

        Raises `NotFoundError` if there is no such message, and `UnsupportedError` if a fork shares it.
        """
        return self._call(self._inner.update_message, thread_id, message, **changes)

    def delete_message(self, thread_id: str, message: str | int) -> bool:
        """Remove one message, given by id or seq; return whether it was there. Forks keep it."""
        return self._call(self._inner.delete_message, thread_id, message)

    def count_messages(self, thread_id: str) -> int:
        """Return how many messages a thread has, without reading them; 0 if the thread does not exist."""
        return self._call(self._inner.count_messages, thread_id)

    def clear_messages(self, thread_id: str) -> int:
        """Remove all messages of a thread, but not the thread; return how many there were. Forks keep theirs."""
        return self._call(self._inner.clear_messages, thread_id)

    def truncate_after_message(self, thread_id: str, message: str | int) -> int:
        """Remove every message after one, given by id or seq, atomically; return how many were removed.

        Raises `NotFoundError` for an unknown id.
        """
        return self._call(self._inner.truncate_after_message, thread_id, message)

    def create(
        self,
        *,
        user_id: str,
        agent_name: str,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
        exist_ok: bool = False,
        also: BatchPart | None = None,
    ) -> ThreadRecord:
        """Create a thread, with a generated id unless one is given. Two driver calls.

        Raises `ConflictError` if the id is taken. With `exist_ok`, the existing thread is returned, unchanged, if it is of
        the same user.
        `also` are writes of your own, made in the same batch if the thread is new.
        """
        return self._call(
            self._inner.create,
            user_id=user_id,
            agent_name=agent_name,
            title=title,
            metadata=metadata,
            id=id,
            exist_ok=exist_ok,
            also=also,
        )

    def add(self, record: ThreadRecord | Mapping[str, Any]) -> ThreadRecord:
        """Create a thread from a whole record, with its times and lineage, as an import does. Two driver calls.

        It has no messages yet, whatever its `message_count` says. Raises `ConflictError` if the id is taken.
        """
        return self._call(self._inner.add, record)

    def get(self, thread_id: str, *, user_id: str | All = ALL) -> ThreadRecord | None:
        """Return the thread with its message count; `None` if there is none, or if it is not this user's. One driver call."""
        return self._call(self._inner.get, thread_id, user_id=user_id)

    def get_with_etag(self, thread_id: str) -> tuple[ThreadRecord, Etag] | None:
        """Return the thread with its etag, for `add_messages(..., if_match=etag)`. Messages do not change the etag."""
        return self._call(self._inner.get_with_etag, thread_id)

    def exists(self, thread_id: str) -> bool:
        """Return whether there is such a thread, without reading it. One driver call."""
        return self._call(self._inner.exists, thread_id)

    def list(
        self,
        *,
        user_id: str | All = ALL,
        agent_name: str | All = ALL,
        limit: int | None = None,
        cursor: str | None = None,
        offset: int = 0,
    ) -> Listing[ThreadRecord]:
        """List the threads of a user, of an agent, of both, or all, newest first. A page is three driver calls.

        Lists are in order of creation, so no thread moves while someone pages. `offset` reads what it skips, so prefer
        the page's cursor.
        """
        return Listing(
            self._portal,
            self._inner.list(user_id=user_id, agent_name=agent_name, limit=limit, cursor=cursor, offset=offset),
        )

    def update(
        self,
        thread_id: str,
        *,
        title: str | Keep | None = KEEP,
        metadata: Mapping[str, Any] | Keep = KEEP,
        merge_metadata: Mapping[str, Any] | None = None,
    ) -> ThreadRecord:
        """Change the title, replace the metadata (`metadata=`), or merge into it, one level deep (`merge_metadata=`).

        Concurrent merges are all kept. Raises `NotFoundError`, and `InvalidValueError` if both kinds of metadata are
        given.
        """
        return self._call(self._inner.update, thread_id, title=title, metadata=metadata, merge_metadata=merge_metadata)

    def delete(self, thread_id: str) -> bool:
        """Delete a thread with its messages, feedback, checkpoints and approvals; return whether there was one.

        For readers, the thread, its messages, feedback and checkpoints disappear in one batch, however many there are,
        and so do its first twenty approvals; the rest follows right after. If this is interrupted,
        `persistence.collect_garbage()`, or creating a thread with that id, finishes it. Messages that forks share are
        kept as long as a fork needs them.
        """
        return self._call(self._inner.delete, thread_id)

    def bases(self, thread_id: str) -> Sequence[Key]:
        """Return the keys at and below which a thread and its messages are stored, without I/O."""
        return self._inner.bases(thread_id)

    def stats(self, *, messages: bool = False) -> ThreadStats:
        """Return exactly how many threads and how much feedback there is, in two driver calls, however many there are.

        `messages` adds up the messages of all threads: also exact, but it reads two small items per thread.
        """
        return self._call(self._inner.stats, messages=messages)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)

    def fork(
        self,
        thread_id: str,
        *,
        at: int | str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        id: str | None = None,
    ) -> ThreadRecord:
        """Create a thread that shares the messages up to and including `at` (a seq or an id; default: all).

        The same few driver calls whatever the length: nothing is copied, and shared messages keep their ids, times and
        numbers. User, agent and metadata default to the parent's, and the title to "Fork of" and the parent's. Raises
        `NotFoundError` if the thread or message does not exist, `ConflictError` if the id is taken, `TooLargeError` for
        a fork of forks, more than 128 deep.
        """
        return self._call(self._inner.fork, thread_id, at=at, title=title, metadata=metadata, user_id=user_id, id=id)

    def lineage(self, thread_id: str) -> Lineage[ThreadRecord]:
        """Return what a thread was forked from, and what was forked from it, directly or not, and deleted ancestors.

        Four driver calls for a family of up to 200. Raises `NotFoundError`.
        """
        return self._call(self._inner.lineage, thread_id)

    def finish_deletions(self) -> int:
        """Finish interrupted deletions; return how many. `persistence.collect_garbage()` calls this."""
        return self._call(self._inner.finish_deletions)


class FeedbackStore(Face[AsyncFeedbackStore]):
    """Feedback by id, thread, message, user, agent, type and rating, newest first. It is deleted with its thread."""

    def create(
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
        return self._call(
            self._inner.create,
            thread_id,
            rating=rating,
            comment=comment,
            message_id=message_id,
            feedback_type=feedback_type,
            query=query,
            response=response,
            correction=correction,
            metadata=metadata,
            user_id=user_id,
            agent_name=agent_name,
            id=id,
        )

    def add(self, record: FeedbackRecord | Mapping[str, Any]) -> FeedbackRecord:
        """Store feedback from a whole record, with its time, as an import does. Two driver calls.

        Raises `NotFoundError` if its thread does not exist, and `ConflictError` if the id is taken.
        """
        return self._call(self._inner.add, record)

    def get(self, id: str) -> FeedbackRecord | None:
        """Return the feedback, or `None` if it does not exist or its thread was deleted."""
        return self._call(self._inner.get, id)

    def exists(self, id: str) -> bool:
        """Return whether the feedback and its thread exist."""
        return self._call(self._inner.exists, id)

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
        return Listing(
            self._portal,
            self._inner.list(
                thread_id=thread_id,
                message_id=message_id,
                user_id=user_id,
                agent_name=agent_name,
                feedback_type=feedback_type,
                rating=rating,
                min_rating=min_rating,
                max_rating=max_rating,
                limit=limit,
                cursor=cursor,
                offset=offset,
            ),
        )

    def delete(self, id: str) -> bool:
        """Delete feedback; return whether there was any."""
        return self._call(self._inner.delete, id)

    def count(self) -> int:
        """Return the exact number. One driver call."""
        return self._call(self._inner.count)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)

    def clear(self, thread_id: str) -> int:
        """Delete all feedback of a thread, in batches; return how many. Safe to repeat."""
        return self._call(self._inner.clear, thread_id)
