"""Threads with their messages, forks, and everything that belongs to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from pydantic_core import to_json

from ..._arguments import checked_arguments
from ..._errors import ConflictError, CorruptDataError, InvalidValueError, NotFoundError
from ..._filters import ALL, All
from ...driver import KEEP, Delete, Driver, Etag, Keep, Key, Put, Write, key, name, text
from ...driver.kit import scan_all
from ...records import ThreadRecord, as_record, utc_now
from ...structures import (
    BatchPart,
    Collection,
    Counter,
    Index,
    Listing,
    ModelCodec,
    Plan,
    ReadSet,
    RepairReport,
    afterwards,
    collect_now,
    log_skipped,
    transact,
    written,
)
from .._formats import THREAD
from ..approvals import ApprovalStore
from ..checkpoints import CheckpointStore
from ._feedback import FeedbackStore
from ._lineage import Lineage, family, lineage
from ._saving import created_at
from ._thread_documents import ThreadStats, both, id_of_deleted, with_messages
from ._thread_messages import NewThread, ThreadMessages, messages_of_threads

__all__ = ["ThreadStats", "ThreadStore"]

R = TypeVar("R")

_DELETED = name("threads.deleted")
_AT_ONCE = 20
"""How many approvals are deleted in the same batch as their thread. The rest are deleted right after."""


@checked_arguments
class ThreadStore(ThreadMessages):
    """Threads by id, user and agent, newest first; messages in the order they were added."""

    def __init__(self, driver: Driver, approvals: ApprovalStore, checkpoints: CheckpointStore) -> None:
        self._driver = driver
        self._approvals = approvals
        self._checkpoints = checkpoints
        self._records: Collection[ThreadRecord] = Collection(
            driver,
            "threads",
            ModelCodec(ThreadRecord, THREAD, without=frozenset({"message_count", "active_at"})),
            id_of=lambda record: record.id,
            indexes=[
                Index("user", lambda record: record.user_id),
                Index("agent", lambda record: record.agent_name),
                Index("both", lambda record: both(record.user_id, record.agent_name)),
                family(_ancestors),
            ],
            created_at=created_at,
        )
        self._messages = messages_of_threads(driver)
        self._count = Counter(driver, "threads")
        self.feedback: FeedbackStore = FeedbackStore(driver, self._records)
        """What people think of threads and messages; the same as `persistence.feedback`."""

    async def create(
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
        moment = utc_now()
        fields = {
            "id": uuid4().hex if id is None else id,
            "user_id": user_id,
            "agent_name": agent_name,
            "title": title,
            "metadata": dict(metadata or {}),
            "created_at": moment,
            "updated_at": moment,
        }
        return await self._new(as_record(ThreadRecord, fields), exist_ok, also)

    async def add(self, record: ThreadRecord | Mapping[str, Any]) -> ThreadRecord:
        """Create a thread from a whole record, with its times and lineage, as an import does. Two driver calls.

        It has no messages yet, whatever its `message_count` says. Raises `ConflictError` if the id is taken.
        """
        return await self._new(
            as_record(ThreadRecord, record).model_copy(update={"message_count": 0, "active_at": None}), False, None
        )

    async def _new(self, record: ThreadRecord, exist_ok: bool, also: BatchPart | None) -> ThreadRecord:
        log, part = self._messages.log(record.id), BatchPart.of(also)

        def plan(reads: ReadSet) -> Plan[bool]:
            there = self._records.decode(reads[self._records.key(record.id)], record.id) if exist_ok else None
            if there is not None and there.user_id == record.user_id:
                return Plan([], False)
            return Plan([*self._plan_new(reads, record), *log.plan_create(reads), *part.plan(reads)], True)

        keys = [*self._keys(record.id), *log.keys, *part.keys]
        while True:
            try:
                made = await transact(self._driver, keys, plan)
            except _NotGone:
                await self._finish(record.id)
            else:
                found = record if made else await self.get(record.id)
                if found is not None:
                    return found

    async def get(self, thread_id: str, *, user_id: str | All = ALL) -> ThreadRecord | None:
        """Return the thread with its message count; `None` if there is none, or if it is not this user's. One driver call."""
        found = await self.get_with_etag(thread_id)
        return None if found is None or user_id not in (ALL, found[0].user_id) else found[0]

    async def get_with_etag(self, thread_id: str) -> tuple[ThreadRecord, Etag] | None:
        """Return the thread with its etag, for `add_messages(..., if_match=etag)`. Messages do not change the etag."""
        at, log = self._records.key(thread_id), self._messages.log(thread_id)
        item, head, counter = await self._driver.get([at, *log.keys])
        record = self._records.decode(item, thread_id)
        return None if record is None or item is None else (with_messages(record, head, counter), item.etag)

    async def exists(self, thread_id: str) -> bool:
        """Return whether there is such a thread, without reading it. One driver call."""
        return await self._records.exists(thread_id)

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
        index, value = "all", ""
        if user_id is not ALL and agent_name is not ALL:
            index, value = "both", both(user_id, agent_name)
        elif user_id is not ALL:
            index, value = "user", user_id
        elif agent_name is not ALL:
            index, value = "agent", agent_name

        async def fetch(
            position: str | None, count: int
        ) -> tuple[Sequence[ThreadRecord | CorruptDataError], str | None]:
            count = min(count, self._driver.capabilities.max_keys // 2)
            if index == "all":
                page = await self._records.all(limit=count, cursor=position).with_errors()
            else:
                page = await self._records.find(index, value, limit=count, cursor=position).with_errors()
            threads = [record for record in page if not isinstance(record, CorruptDataError)]
            keys = [each for record in threads for each in self._messages.log(record.id).keys]
            items = iter(await self._driver.get(keys) if keys else [])
            shown = [
                record if isinstance(record, CorruptDataError) else with_messages(record, next(items), next(items))
                for record in page
            ]
            return shown, page.cursor

        return Listing(["threads", index, value], fetch, limit=limit, cursor=cursor, offset=offset)

    async def update(
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
        if metadata is not KEEP and merge_metadata is not None:
            raise InvalidValueError("metadata= replaces and merge_metadata= merges: pass only one")

        def change(record: ThreadRecord) -> ThreadRecord:
            merged = record.metadata if metadata is KEEP else metadata
            fields = {
                "title": record.title if title is KEEP else title,
                "metadata": {**merged, **(merge_metadata or {})},
                "updated_at": utc_now(),
            }
            return as_record(ThreadRecord, {**dict(record), **fields})

        try:
            record = await self._records.update(thread_id, change)
        except NotFoundError:
            raise self._missing(thread_id) from None
        with written(f"the thread {thread_id!r}"):
            return with_messages(record, *await self._driver.get(self._messages.log(thread_id).keys))

    async def delete(self, thread_id: str) -> bool:
        """Delete a thread with its messages, feedback, checkpoints and approvals; return whether there was one.

        For readers, the thread, its messages, feedback and checkpoints disappear in one batch, however many there are,
        and so do its first twenty approvals; the rest follows right after. If this is interrupted,
        `persistence.collect_garbage()`, or creating a thread with that id, finishes it. Messages that forks share are
        kept as long as a fork needs them.
        """
        approvals = (await self._approvals.removals(thread_id))[:_AT_ONCE]
        log = self._messages.log(thread_id)
        keys = [*self._keys(thread_id), *log.keys, *self._checkpoints.keys(thread_id)]
        keys += [each for removal in approvals for each in removal.keys]

        def plan(reads: ReadSet) -> Plan[list[Write]]:
            gone = self._records.plan_delete(reads, thread_id)
            if not gone:
                return Plan([], [])
            gone += log.plan_delete(reads)
            gone += self._checkpoints.plan_delete(reads, thread_id)
            gone += [write for removal in approvals for write in removal.plan(reads)]
            gone.append(self._count.plan(reads, -1))
            return Plan([*gone, Put(key(_DELETED, text(thread_id)), to_json([thread_id]).decode())], gone)

        gone = await transact(self._driver, keys, plan)
        if not gone:
            return False
        await afterwards(self._finish(thread_id))
        await collect_now(self._driver, gone)
        return True

    def bases(self, thread_id: str) -> Sequence[Key]:
        """Return the keys at and below which a thread and its messages are stored, without I/O."""
        return [self._records.key(thread_id), self._messages.log(thread_id).base]

    async def stats(self, *, messages: bool = False) -> ThreadStats:
        """Return exactly how many threads and how much feedback there is, in two driver calls, however many there are.

        `messages` adds up the messages of all threads: also exact, but it reads two small items per thread.
        """
        total = None
        if messages:
            total = sum([thread.message_count async for thread in self.list()])
        return ThreadStats(await self._count.total(), await self.feedback.count(), total)

    async def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return await self._records.repair(dry_run=dry_run)

    # Forks.

    async def fork(
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
        if isinstance(at, str):
            at = await self._messages.seq_of(thread_id, at)
        fork_id = uuid4().hex if id is None else id
        parent = self._records.key(thread_id)

        def plan(reads: ReadSet, writes: list[Write], end: int) -> Plan[ThreadRecord]:
            of = self._records.decode(reads[parent], thread_id)
            if of is None:
                raise self._missing(thread_id)
            moment = utc_now()
            fields = {
                "id": fork_id,
                "user_id": of.user_id if user_id is None else user_id,
                "title": f"Fork of {of.title or of.id}" if title is None else title,
                "metadata": of.metadata if metadata is None else dict(metadata),
                "parent_thread_id": of.id,
                "fork_at": end - 1 if end else None,
                "ancestors": [*of.ancestors, of.id],
                "created_at": moment,
                "updated_at": moment,
            }
            record = as_record(ThreadRecord, {**dict(of), **fields})
            return Plan([*self._plan_new(reads, record), *writes], record)

        while True:
            try:
                await self._messages.log(thread_id).transact_fork(
                    self._messages.log(fork_id), at, [*self._keys(fork_id), parent], plan
                )
            except _NotGone:
                await self._finish(fork_id)
            except ConflictError:
                raise ConflictError(f"the thread {fork_id!r} already exists: choose another id") from None
            except NotFoundError:
                if at is None or await self.get(thread_id) is None:
                    raise self._missing(thread_id) from None
                raise NotFoundError(f"there is no message {at} in the thread {thread_id!r} to fork at") from None
            else:
                with written(f"the thread {fork_id!r}"):
                    found = await self.get(fork_id)
                if found is None:
                    raise self._missing(fork_id)
                return found

    async def lineage(self, thread_id: str) -> Lineage[ThreadRecord]:
        """Return what a thread was forked from, and what was forked from it, directly or not, and deleted ancestors.

        Four driver calls for a family of up to 200. Raises `NotFoundError`.
        """
        return await lineage(self._records, thread_id, _ancestors, "thread")

    # Implementation.

    async def finish_deletions(self) -> int:
        """Finish interrupted deletions; return how many. `persistence.collect_garbage()` calls this."""
        ended = 0
        async for item in scan_all(self._driver, _DELETED):
            try:
                await self._finish(id_of_deleted(item))
                ended += 1
            except CorruptDataError as error:
                log_skipped(error)
        return ended

    async def _finish(self, thread_id: str) -> None:
        """Remove what belonged to a deleted thread. Safe to repeat: no thread with that id can be created meanwhile."""
        await self.feedback.clear(thread_id)
        for removal in await self._approvals.removals(thread_id):
            await transact(self._driver, removal.keys, lambda reads, plan=removal.plan: Plan(plan(reads), None))  # type: ignore[misc]
        await self._driver.apply([Delete(key(_DELETED, text(thread_id)))])

    async def _in_thread(self, thread_id: str, create: NewThread | None, add: Callable[[], Awaitable[R]]) -> R:
        """Call `add`. If the thread does not exist and `create` is given, create it."""
        while True:
            try:
                return await add()
            except NotFoundError:
                if create is None:
                    raise
            await self.create(**create, id=thread_id, exist_ok=True)

    def _keys(self, thread_id: str) -> tuple[Key, Key, Key]:
        """Return what creating and deleting a thread needs to read, besides its log."""
        return self._records.key(thread_id), key(_DELETED, text(thread_id)), self._count.shard()

    def _plan_new(self, reads: ReadSet, record: ThreadRecord) -> Sequence[Write]:
        at, deleted = self._records.key(record.id), key(_DELETED, text(record.id))
        if reads[at] is not None:
            raise ConflictError(
                f"the thread {record.id!r} already exists: choose another id, or pass exist_ok=True",
                items={at: reads[at]},
            )
        if reads[deleted] is not None:
            raise _NotGone
        return [*self._records.plan_save(reads, record, if_absent=True), self._count.plan(reads, 1)]

    def _missing(self, thread_id: str) -> NotFoundError:
        return NotFoundError(f"there is no thread {thread_id!r}: create it first")


class _NotGone(Exception):
    """A thread with that id was deleted, and not everything that belonged to it is removed yet."""


def _ancestors(record: ThreadRecord) -> Sequence[str]:
    return record.ancestors
