"""Checkpoints: every step of a thread, with equal parts stored once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from ..._arguments import checked_arguments
from ..._errors import InvalidKeyError, InvalidValueError, NotFoundError
from ..._filters import All
from ..._json import check_plain
from ...driver import MAX_TEXT, Driver, Key, Write
from ...records import CheckpointRecord
from ...structures import Listing, Plan, ReadSet, transact
from ._copy import copy_thread
from ._delete import delete_checkpoints, delete_runs
from ._documents import steps_before
from ._keys import Address, Sort, up_to
from ._listing import list_ancestors, list_checkpoints, list_namespaces, list_threads
from ._parts import take_apart
from ._prune import prune_thread
from ._reading import Reader
from ._threads import ThreadCache, ThreadMovedError, ThreadRoot, root_of, thread_key
from ._writing import NewParts, dump_write, nodes_of_channels, put_document, put_pending

__all__ = ["CheckpointStore"]

_WORTH_LOOKING = 16
"""New parts from which on it is worth while to look whether the latest checkpoint has them."""


@checked_arguments
class CheckpointStore:
    """Checkpoints by thread, namespace and id, in the order of their ids where these are in one, else of their first puts.

    All of a thread lies below one number, which `checkpoints.threads!@<thread>` names: with that item a thread is deleted at
    once, and made anew. What checkpoints of a thread have in common is stored once.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._cache = ThreadCache()
        self._reader = Reader(driver, self._cache)

    async def put(
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
        id = uuid4().hex if id is None else id
        run = (metadata or {}).get("run_id")
        versions = dict(versions or {})
        for name, version in versions.items():
            if not isinstance(name, str) or isinstance(version, bool) or not isinstance(version, (str, int, float)):
                raise InvalidValueError(f"the version of {name!r} is {version!r}: use a string or a number")
        check_plain(versions, "versions")
        while True:
            root = await self._root(thread_id)
            if root is None:
                if parent_id is not None:
                    raise NotFoundError(
                        f"the thread {thread_id!r} was deleted, and with it the checkpoint {parent_id!r}: put the first one "
                        "of a new run without a parent"
                    )
                root = await self._anew(thread_id)
            parts = NewParts(root)
            document: dict[str, Any] = {
                "parent": parent_id,
                "node": take_apart(checkpoint, parts, "checkpoint"),
                "metadata": take_apart(dict(metadata or {}), parts, "metadata", "the metadata"),
            }
            if isinstance(run, str) and len(run) <= MAX_TEXT:
                document["run"] = run
            if channels or versions:
                document["channels"] = nodes_of_channels(root, namespace, channels or {}, versions, encode, parts)
                document["versions"] = versions
            if len(parts.puts) > _WORTH_LOOKING and not root.learned and not root.fresh:
                root.learned = True
                try:
                    await self._reader.page(root, namespace, None, 1, 10)
                except ThreadMovedError:
                    self._cache.forget(root)
                continue
            try:
                self._cache.keep(
                    await put_document(self._driver, root, Address(root.base, namespace, id), document, parts)
                )
            except ThreadMovedError:
                self._cache.forget(root)
            else:
                return id

    async def put_writes(
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
        given: dict[int, tuple[str, Any]] = {}
        for at, write in enumerate(writes, first):
            match write:
                case (str(channel), value):
                    number = at
                case (int(number), str(channel), value) if not isinstance(number, bool):
                    pass
                case _:
                    raise InvalidValueError(
                        "writes takes pairs of a channel's name and a value, and triples of a number, a name and a value"
                    )
            if number not in given or number < 0 or replace:
                given[number] = (channel, value)
        while given and (root := await self._root(thread_id)) is not None:
            parts = NewParts(root)
            written = {
                (task_id, number): dump_write(task_id, task_path, channel, value, parts, replace)
                for number, (channel, value) in given.items()
            }
            address = Address(root.base, namespace, checkpoint_id)
            try:
                await put_pending(self._driver, root, address, written, parts, lambda number: replace or number < 0)
            except ThreadMovedError:
                self._cache.forget(root)
            else:
                self._cache.keep(root)
                return

    async def get(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> CheckpointRecord | None:
        """Return a checkpoint by id, or the latest, with its pending writes; or `None`.

        Two driver calls, and one more where this process does not know the thread, where it does not know the id, and
        for each 500 parts.
        """
        return await self._reader.one(thread_id, namespace, id)

    async def exists(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> bool:
        """Whether there is a checkpoint with this id, or any in the namespace. Two or three driver calls."""
        while (root := await self._reader.there(thread_id)) is not None:
            address = Address(root.base, namespace, id or "")
            before: Key | None = None
            sort: Sort | None = None
            try:
                if id is not None:
                    sort = await self._reader.sort_of(root, address)
                    if sort is None:
                        await self._reader.confirm(root)
                        return False
                    before = up_to(address.documents, sort)
                steps, _ = await steps_before(self._driver, address.documents, before, 1, 1, values=False)
                await self._reader.confirm(root)
            except ThreadMovedError:
                continue
            return bool(steps) and (id is None or steps[0].sort == sort)
        return False

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
        return list_checkpoints(self._reader, thread_id, namespace, before, filter or {}, limit, cursor)

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
        return list_ancestors(self._reader, thread_id, namespace, id, limit, cursor)

    def namespaces(self, thread_id: str, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """The namespaces in which a thread has had checkpoints, in the driver's order of their names."""
        return list_namespaces(self._reader, thread_id, limit, cursor)

    def threads(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """The ids of all threads with checkpoints or pending writes, in the driver's order. One driver call a page."""
        return list_threads(self._reader, limit, cursor)

    # Whole threads.

    async def delete(self, thread_id: str, *, ids: Sequence[str] | None = None, namespace: str = "") -> bool:
        """Remove all checkpoints of a thread in one step, whatever their number; return whether there were any.

        With `ids` only these of a namespace, some hundred at a time, with their pending writes; parts that nothing uses any
        more are freed by the next pruning.
        """
        if ids is not None:
            return await delete_checkpoints(self._driver, thread_id, namespace, _texts(ids, "ids"))
        thread = thread_key(thread_id)

        def plan(reads: ReadSet) -> Plan[bool]:
            return Plan(self.plan_delete(reads, thread_id), root_of(thread_id, reads[thread]).is_there)

        return await transact(self._driver, [thread], plan)

    async def delete_for_runs(self, run_ids: Sequence[str]) -> int:
        """Remove the checkpoints whose metadata has one of these texts as its `run_id`; return how many.

        Reads the root of each thread, a few hundred a call, and of those that have the runs what was put since they began.
        """
        return await delete_runs(self._driver, _texts(run_ids, "run_ids"))

    def keys(self, thread_id: str) -> Sequence[Key]:
        """What `plan_delete` has to know."""
        return [thread_key(thread_id)]

    def plan_delete(self, reads: ReadSet, thread_id: str) -> Sequence[Write]:
        """The writes that remove all checkpoints of a thread, for the batch of what they belong to."""
        item = reads[thread_key(thread_id)]
        if item is None or (root := root_of(thread_id, item)).state == "deleted":
            return []
        return root.deleted()

    async def copy(self, source: str, target: str) -> int:
        """Copy all checkpoints, with their pending writes, to another thread; return how many items that were.

        The target shows nothing until all is there. Raises `NotFoundError`, and `ConflictError` for a target that is there,
        or that someone else wrote to in the meantime. The remains of an interrupted copy are freed with the next write to the target.
        """
        return await copy_thread(self._driver, source, target)

    async def prune(
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
        return await prune_thread(self._driver, thread_id, max_count, max_age, keep)

    # How.

    async def _root(self, thread_id: str) -> ThreadRoot | None:
        """The place of a thread, or a new one; `None` for one that was deleted a while ago."""
        root = await self._reader.root(thread_id)
        if root.state == "deleted":
            return None
        return root_of(thread_id, root.item, anew=True) if root.state == "copying" else root

    async def _anew(self, thread_id: str) -> ThreadRoot:
        """A new place for a thread that was deleted."""
        (item,) = await self._driver.get([thread_key(thread_id)])
        root = root_of(thread_id, item)
        return root_of(thread_id, item, anew=True) if root.state != "kept" else root


def _texts(given: Sequence[str], what: str) -> Sequence[str]:
    for each in given:
        if not isinstance(each, str):
            raise InvalidKeyError(f"{what} takes strings, not {type(each).__name__}")
    return given
