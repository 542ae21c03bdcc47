"""Checkpoints, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from .._filters import All
from ..records import CheckpointRecord
from ..stores import CheckpointStore as AsyncCheckpointStore
from ._face import Face
from ._listing import Listing

__all__ = ["CheckpointStore"]


class CheckpointStore(Face[AsyncCheckpointStore]):
    """Checkpoints by thread, namespace and id, in the order of their ids where these are in one, else of their first puts.

    All of a thread lies below one number, which `checkpoints.threads!@<thread>` names: with that item a thread is deleted at
    once, and made anew. What checkpoints of a thread have in common is stored once.
    """

    def put(
        self,
        thread_id: str,
        checkpoint: Any,
        *,
        namespace: str = "",
        id: str | None = None,
        parent_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        channels: Mapping[str, Any] | None = None,
        versions: Mapping[str, str | int | float] | None = None,
        encode: Callable[[Any], Any] | None = None,
    ) -> str:
        """Store a checkpoint, JSON with bytes wherever there are bytes, and return its id.

        `channels` are values by name, kept beside it. One whose version in `versions` is the last one that this process
        knows is not looked at; `encode` makes JSON with bytes of the others.

        An existing id is replaced and keeps its position. One driver call once this process knows the thread, and
        one more for each MiB, or few hundred, of parts that are new. Raises `InvalidValueError`, and `NotFoundError` for a
        checkpoint with a parent in a thread that was deleted less than an hour ago.
        """
        return self._call(
            self._inner.put,
            thread_id,
            checkpoint,
            namespace=namespace,
            id=id,
            parent_id=parent_id,
            metadata=metadata,
            channels=channels,
            versions=versions,
            encode=encode,
        )

    def put_writes(
        self,
        thread_id: str,
        checkpoint_id: str,
        task_id: str,
        writes: Sequence[tuple[str, Any] | tuple[int, str, Any]],
        *,
        namespace: str = "",
        task_path: str = "",
        first: int = 0,
        replace: bool = False,
    ) -> None:
        """Store what a task has written after a checkpoint: channels with values, numbered from `first` on.

        A triple begins with a number of its own. What is there already stays, unless `replace`, or its number is
        negative: so the same call may be made again. The checkpoint may come after its writes. One driver call once
        this process knows the thread and the checkpoint. In a thread that was deleted less than an hour ago it does nothing.
        Raises `InvalidValueError`.
        """
        self._call(
            self._inner.put_writes,
            thread_id,
            checkpoint_id,
            task_id,
            writes,
            namespace=namespace,
            task_path=task_path,
            first=first,
            replace=replace,
        )

    def get(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> CheckpointRecord | None:
        """Return a checkpoint by id, or the latest, with its pending writes; or `None`.

        Two driver calls, and one more where this process does not know the thread, where it does not know the id, and
        for each 500 parts.
        """
        return self._call(self._inner.get, thread_id, namespace=namespace, id=id)

    def exists(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> bool:
        """Whether there is a checkpoint with this id, or any in the namespace. Two or three driver calls."""
        return self._call(self._inner.exists, thread_id, namespace=namespace, id=id)

    def list(
        self,
        thread_id: str | All,
        *,
        namespace: str | All = "",
        before: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[CheckpointRecord]:
        """The checkpoints of a thread in a namespace, the latest first, whole.

        The namespace `ALL` stands for all of them, the thread `ALL` for all threads: one after the other, in the driver's
        order of their names. `before` is an id: those that come before it in the order; `NotFoundError` for one that is not
        there, unless it is a UUID of version 6 or 7, which says itself where it belongs. `filter` are names and values that
        the metadata has to have. A page is two driver calls, one more for each 500 parts, and a few for each further namespace.
        """
        return Listing(
            self._portal,
            self._inner.list(thread_id, namespace=namespace, before=before, filter=filter, limit=limit, cursor=cursor),
        )

    def history(
        self,
        thread_id: str,
        *,
        namespace: str = "",
        id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[CheckpointRecord]:
        """A checkpoint, or the latest, then its parent, and so on to the first, or to one whose parent is not there.

        About two driver calls for each 50 of them, where they lie right before each other in the order, else for each.
        Raises `NotFoundError` where there is no checkpoint `id`.
        """
        return Listing(
            self._portal, self._inner.history(thread_id, namespace=namespace, id=id, limit=limit, cursor=cursor)
        )

    def namespaces(self, thread_id: str, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """The namespaces in which a thread has had checkpoints, in the driver's order of their names."""
        return Listing(self._portal, self._inner.namespaces(thread_id, limit=limit, cursor=cursor))

    def threads(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """The ids of all threads with checkpoints or pending writes, in the driver's order. One driver call a page."""
        return Listing(self._portal, self._inner.threads(limit=limit, cursor=cursor))

    def delete(self, thread_id: str, *, ids: Sequence[str] | None = None, namespace: str = "") -> bool:
        """Remove all checkpoints of a thread in one step, whatever their number; return whether there were any.

        With `ids` only these of a namespace, some hundred at a time, with their pending writes; parts that nothing uses any
        more are freed by the next pruning.
        """
        return self._call(self._inner.delete, thread_id, ids=ids, namespace=namespace)

    def delete_for_runs(self, run_ids: Sequence[str]) -> int:
        """Remove the checkpoints whose metadata has one of these texts as its `run_id`; return how many.

        Reads the root of each thread, a few hundred a call, and of those that have the runs what was put since they began.
        """
        return self._call(self._inner.delete_for_runs, run_ids)

    def copy(self, source: str, target: str) -> int:
        """Copy all checkpoints, with their pending writes, to another thread; return how many items that were.

        The target shows nothing until all is there. Raises `NotFoundError`, and `ConflictError` for a target that is there,
        or that someone else wrote to in the meantime. The remains of an interrupted copy are freed with the next write to the target.
        """
        return self._call(self._inner.copy, source, target)

    def prune(
        self,
        thread_id: str,
        *,
        max_count: int | None = None,
        max_age: float | timedelta | None = None,
        keep: Callable[[CheckpointRecord], bool] | None = None,
    ) -> int:
        """Remove the checkpoints that are not among the last `max_count` of their namespace, or older than `max_age`.

        Those of them for which `keep` returns true stay too. Returns how many were removed. The latest of each namespace always stays, and so does one that
        is put while this runs. Parts that the remaining checkpoints need stay; the others are freed when they are an hour old.
        """
        return self._call(self._inner.prune, thread_id, max_count=max_count, max_age=max_age, keep=keep)
