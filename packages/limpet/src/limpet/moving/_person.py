"""One person's data: all of it in a file, or erased."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._errors import InvalidValueError
from .._filters import ALL
from ..driver import Key
from ..records import FeedbackRecord
from ..stores import EventQueue, Persistence
from ..structures import collect_chunks_below
from ._conversations import feedback_elsewhere, threads
from ._database import Database, opened_stores
from ._export import ExportReport, export_records
from ._progress import OnProgress, Progress

__all__ = ["Erasure", "Links", "erase_user", "export_user"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What else belongs to a person: Limpet knows the user of threads and feedback, and the application knows the rest."""

    sessions: Sequence[str] = ()
    """Ids. Their images and containers stay."""
    records: Sequence[tuple[str, str]] = ()
    """Namespace and key of key-value records."""
    states: Sequence[tuple[str, str]] = ()
    """Namespace and key of agent states."""
    channels: Sequence[str] = ()
    """Channels of events."""
    blobs: Sequence[str] = ()
    """Ids."""


@dataclass(slots=True)
class Erasure:
    """What was erased, or with `dry_run` would be."""

    threads: int = 0
    messages: int = 0
    """Of the threads and sessions."""
    feedback: int = 0
    checkpoints: int = 0
    approvals: int = 0
    """That can still be claimed or were decided."""
    sessions: int = 0
    records: int = 0
    states: int = 0
    events: int = 0
    blobs: int = 0
    shared: list[str] = field(default_factory=list)
    """Threads of other users that were forked from these, and still contain what they share."""


async def export_user(
    database: Database, user_id: str, file: str | os.PathLike[str], *, replace: bool = False
) -> ExportReport:
    """Write a person's threads, with messages and feedback, and their feedback elsewhere to a `.jsonl` file."""
    _check(user_id)
    return await export_records(
        database,
        Path(file),
        lambda persistence, damaged: _everything(persistence, damaged, user_id),
        what="threads",
        replace=replace,
        progress=None,
    )


async def _everything(
    persistence: Persistence, damaged: dict[str, str], user_id: str
) -> AsyncIterator[list[dict[str, Any]]]:
    async for page in threads(persistence, (), user_id, damaged):
        yield page
    async for page in feedback_elsewhere(persistence, user_id, damaged):
        yield page


async def erase_user(
    database: Database,
    user_id: str,
    *,
    links: Links | None = None,
    dry_run: bool = False,
    progress: OnProgress = None,
) -> Erasure:
    """Erase a person's threads with everything that belongs to them, their feedback, and what `links` name.

    Messages, checkpoints and approvals go with their thread, and what is no longer referenced is freed at once, not left
    to upkeep. Messages that other people's forks share stay, because they are theirs too: `shared` names these threads.
    `dry_run` only counts. Other people's data is not touched. If it is interrupted, run it again.

    Left for up to 30 days: the next number of each erased conversation or channel, whose key has its id. Not reached:
    backups and exports, logs of the server, free pages of its files, its replicas' history.
    """
    _check(user_id)
    links = links or Links()
    async with opened_stores(database, reading=dry_run) as persistence:
        work = _Erasing(persistence, Erasure(), dry_run)
        async for thread in persistence.threads.list(user_id=user_id):
            await work.thread(thread.id, user_id, thread.message_count)
            if progress is not None:
                progress(Progress("erasing", work.done.threads))
        async for each in persistence.feedback.list(user_id=user_id):
            await work.feedback(each)
        await work.linked(links)
        if not dry_run:
            await persistence.collect_garbage()
            await work.collect()
        return work.done


class _Erasing:
    def __init__(self, persistence: Persistence, done: Erasure, dry_run: bool) -> None:
        self._persistence = persistence
        self.done = done
        self._dry = dry_run
        self._bases: set[Key] = set()

    async def thread(self, id: str, user_id: str, messages: int) -> None:
        """Erase a thread with what belongs to it."""
        persistence, done = self._persistence, self.done
        for decided in (False, True):
            done.approvals += sum([1 async for _ in persistence.approvals.list(thread_id=id, decided=decided)])
        done.checkpoints += sum([1 async for _ in persistence.checkpoints.list(id, namespace=ALL)])
        done.feedback += sum([1 async for _ in persistence.feedback.list(thread_id=id)])
        done.messages += messages
        await self._note_forks(id, user_id)
        done.threads += 1
        if not self._dry:
            self._bases.update(persistence.threads.bases(id))
            await persistence.threads.delete(id)
            if len(self._bases) >= 1000:
                await self.collect()

    async def _note_forks(self, id: str, user_id: str) -> None:
        """Name the other people's threads that were forked from this one."""
        lineage = await self._persistence.threads.lineage(id)
        for each in lineage.descendants:
            if lineage.records[each].user_id != user_id and each not in self.done.shared:
                self.done.shared.append(each)

    async def feedback(self, given: FeedbackRecord) -> None:
        """Erase feedback on other people's threads, or on none."""
        if self._dry and given.thread_id is not None:
            thread = await self._persistence.threads.get(given.thread_id)
            if thread is not None and thread.user_id == given.user_id:
                return  # it is counted with its thread
        self.done.feedback += 1
        if not self._dry:
            await self._persistence.feedback.delete(given.id)

    async def linked(self, links: Links) -> None:
        """Erase what the application named, if it is there."""
        persistence, done, dry = self._persistence, self.done, self._dry
        for session in links.sessions:
            if await persistence.sessions.session_exists(session):
                done.sessions += 1
                done.messages += await persistence.sessions.count_messages(session)
                if not dry:
                    await persistence.sessions.delete_session(session)
        for namespace, at in links.records:
            store = persistence.kv(object, namespace)
            done.records += await store.exists(at) if dry else await store.delete(at)
        for namespace, at in links.states:
            state = persistence.state(object, namespace, key=at, factory=object)
            done.states += await state.exists() if dry else await state.clear_state(history=True)
        async with persistence.events(retention=None, prune_interval=None) as queue:
            for channel in links.channels:
                done.events += await _count(queue, channel)
                if not dry:
                    await queue.delete(channel)
        for blob in links.blobs:
            done.blobs += await persistence.blobs.exists(blob) if dry else await persistence.blobs.delete(blob)

    async def collect(self) -> None:
        """Free at once what erased threads had stored out of line."""
        await collect_chunks_below(self._persistence.driver, self._bases)
        self._bases.clear()


async def _count(queue: EventQueue, channel: str) -> int:
    count, after = 0, None
    while page := (await queue.recover(channel, after)).events:
        count, after = count + len(page), page[-1].cursor
    return count


def _check(user_id: str) -> None:
    if not isinstance(user_id, str) or not user_id:
        raise InvalidValueError(f"user_id is {user_id!r}: pass the id of one user, as text")
