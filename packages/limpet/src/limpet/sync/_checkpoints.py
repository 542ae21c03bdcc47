"""Checkpoints, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ..records import CheckpointRecord
from ..stores import CheckpointStore as AsyncCheckpointStore
from ._face import Face
from ._listing import Listing

__all__ = ["CheckpointStore"]


class CheckpointStore(Face[AsyncCheckpointStore]):
    """Checkpoints by thread, namespace and id; newest first means: put for the first time last.

    All of a thread lies below one number, which `checkpoints.threads!@<thread>` names: with that item a thread is deleted at
    once, and made anew. Parts are found by their digest, within their thread.
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
    ) -> str:
        """Store a checkpoint, JSON with bytes wherever there are bytes, and return its id.

        An existing id is replaced and keeps its position. One driver call after the first, and
        one more for each MiB, or few hundred, of parts that are new. Raises `InvalidValueError`.
        """
        return self._call(
            self._inner.put, thread_id, checkpoint, namespace=namespace, id=id, parent_id=parent_id, metadata=metadata
        )

    def put_writes(
        self,
        thread_id: str,
        checkpoint_id: str,
        task_id: str,
        writes: Sequence[tuple[str, Any]],
        *,
        namespace: str = "",
        first: int = 0,
        replace: bool = False,
    ) -> None:
        """Store what a task has written after a checkpoint: channels with values, numbered from `first` on.

        What is there already stays, unless `replace`: so the same call may be made again. The checkpoint may come after
        its writes. Raises `InvalidValueError`.
        """
        self._call(
            self._inner.put_writes,
            thread_id,
            checkpoint_id,
            task_id,
            writes,
            namespace=namespace,
            first=first,
            replace=replace,
        )

    def get(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> CheckpointRecord | None:
        """Return a checkpoint by id, or the latest, with its pending writes; or `None`.

        Three driver calls where this process knows the thread, and which one was the latest; up to two more where not.
        """
        return self._call(self._inner.get, thread_id, namespace=namespace, id=id)

    def exists(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> bool:
        """Whether there is a checkpoint with this id, or any in the namespace. Two driver calls."""
        return self._call(self._inner.exists, thread_id, namespace=namespace, id=id)

    def list(
        self,
        thread_id: str,
        *,
        namespace: str = "",
        before: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[CheckpointRecord]:
        """The checkpoints of a thread in a namespace, newest first, whole.

        `before` is an id: those that were put before it; `NotFoundError` for one that is not there. `filter` are
        names and values that the metadata has to have.
        """
        return Listing(
            self._portal,
            self._inner.list(thread_id, namespace=namespace, before=before, filter=filter, limit=limit, cursor=cursor),
        )

    def namespaces(self, thread_id: str, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """The namespaces of a thread, in the driver's order of their names."""
        return Listing(self._portal, self._inner.namespaces(thread_id, limit=limit, cursor=cursor))

    def delete(self, thread_id: str) -> bool:
        """Remove all checkpoints of a thread in one step, whatever their number; return whether there were any."""
        return self._call(self._inner.delete, thread_id)

    def copy(self, source: str, target: str) -> int:
        """Copy all checkpoints, with their pending writes, to another thread; return how many items that were.

        The target shows nothing until all is there. Raises `NotFoundError`, and `ConflictError` for a target that is there,
        or that someone else wrote to in the meantime. The remains of an interrupted copy are freed with the next write to the target.
        """
        return self._call(self._inner.copy, source, target)

    def prune(self, thread_id: str, *, max_count: int | None = None, max_age: float | timedelta | None = None) -> int:
        """Remove the checkpoints that are not among the last `max_count` of their namespace, or older than `max_age`.

        Returns how many. The latest of each namespace always stays, and so does one that is put while this runs. Parts
        that the remaining checkpoints need stay; the others are freed when they are an hour old.
        """
        return self._call(self._inner.prune, thread_id, max_count=max_count, max_age=max_age)
