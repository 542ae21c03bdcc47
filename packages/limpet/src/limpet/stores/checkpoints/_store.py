"""Checkpoints: every step of a thread, with equal parts stored once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from ..._arguments import checked_arguments
from ..._errors import CorruptDataError, InvalidCursorError, InvalidValueError, NotFoundError
from ..._json import check_plain, dump_plain
from ...driver import Driver, Key, Range, Write, key
from ...records import CheckpointRecord
from ...structures import KeysBelow, Listing, Plan, Positions, ReadSet, transact
from .._formats import PENDING_WRITE
from ._copy import copy_thread
from ._documents import AT_ONCE, dump, load_namespace, steps_before
from ._keys import NAMESPACES, Address, is_sort, up_to
from ._parts import Node, take_apart
from ._prune import prune_thread
from ._reading import Reader
from ._threads import ThreadCache, ThreadMovedError, ThreadRoot, root_of, thread_key
from ._writing import NewParts, put_document, put_pending

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
            document = {
                "parent": parent_id,
                "node": take_apart(checkpoint, parts, "checkpoint"),
                "metadata": take_apart(dict(metadata or {}), parts, "metadata", "the metadata"),
            }
            if channels or versions:
                document["channels"] = _nodes(root, namespace, channels or {}, versions, encode, parts)
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
                (task_id, number): _pending(task_id, task_path, channel, value, parts, replace)
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
            try:
                before = None
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
        thread_id: str,
        *,
        namespace: str = "",
        before: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[CheckpointRecord]:
        """The checkpoints of a thread in a namespace, the latest first, whole.

        `before` is an id: those that come before it in the order; `NotFoundError` for one that is not there, unless it is
        a UUID of version 6 or 7, which says itself where it belongs. `filter` are names and values that the metadata has
        to have. A page is two driver calls, and one more for each 500 parts.
        """
        wanted = dict(filter or {})

        async def fetch(
            position: str | None, count: int
        ) -> tuple[Sequence[CheckpointRecord | CorruptDataError], str | None]:
            while (root := await self._reader.there(thread_id)) is not None:
                address = Address(root.base, namespace, before or "")
                try:
                    end = None if position is None else key(address.documents, position)
                    if before is not None:  # for a cursor too, which must not lead behind it
                        bound = key(address.documents, await self._bound(root, address))
                        end = bound if end is None else min(end, bound)
                    count = min(count, AT_ONCE)
                    found = await self._reader.page(root, namespace, end, count, 3 * count + 8)
                except ThreadMovedError:
                    continue
                matching = [
                    each
                    for each in found.records
                    if isinstance(each, CorruptDataError) or wanted.items() <= each.metadata.items()
                ]
                return matching, found.steps[-1].sort if found.more else None
            return [], None

        query = ["checkpoints", thread_id, namespace, str(before), dump_plain(wanted, "filter")]
        return Listing(query, fetch, limit=limit, cursor=cursor, positions=_Sorts())

    def namespaces(self, thread_id: str, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """The namespaces of a thread, in the driver's order of their names."""

        async def fetch(position: str | None, count: int) -> tuple[Sequence[str], str | None]:
            base = await self._base(thread_id)
            if base is None:
                return [], None
            below = KeysBelow(key(base, NAMESPACES))  # known only here: a thread that is made anew has another base
            after = None if position is None else below.read(position)
            page = await self._driver.scan(Range(key(base, NAMESPACES), after=after, limit=count))
            found = [load_namespace(item) for item in page.items]
            following = None if page.next is None else below.written(page.next)
            return [str(each["namespace"]) for each in found if each.get("shown")], following

        return Listing(["checkpoint namespaces", thread_id], fetch, limit=limit, cursor=cursor)

    # Whole threads.

    async def delete(self, thread_id: str) -> bool:
        """Remove all checkpoints of a thread in one step, whatever their number; return whether there were any."""
        thread = thread_key(thread_id)

        def plan(reads: ReadSet) -> Plan[bool]:
            return Plan(self.plan_delete(reads, thread_id), root_of(thread_id, reads[thread]).is_there)

        return await transact(self._driver, [thread], plan)

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
        self, thread_id: str, *, max_count: int | None = None, max_age: float | timedelta | None = None
    ) -> int:
        """Remove the checkpoints that are not among the last `max_count` of their namespace, or older than `max_age`.

        Returns how many. The latest of each namespace always stays, and so does one that is put while this runs. Parts
        that the remaining checkpoints need stay; the others are freed when they are an hour old.
        """
        return await prune_thread(self._driver, thread_id, max_count, max_age)

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

    async def _base(self, thread_id: str) -> Key | None:
        (item,) = await self._driver.get([thread_key(thread_id)])
        root = root_of(thread_id, item)
        return root.base if root.is_there else None

    async def _bound(self, root: ThreadRoot, address: Address) -> str:
        """Where the checkpoint `address` is in the order. Raises `NotFoundError`."""
        if address.sort is not None:
            return address.sort
        sort = await self._reader.sort_of(root, address)
        if sort is not None:
            (doc,) = await self._driver.get([address.document(sort)], values=False)
            if doc is not None:
                return sort
        await self._reader.confirm(root)
        raise NotFoundError(f"there is no checkpoint {address.id!r} in the thread {root.thread_id!r}")


class _Sorts(Positions):
    """Positions are places in the order of checkpoints."""

    def read(self, written: str) -> str:
        if not is_sort(written):
            raise InvalidCursorError("the cursor is damaged: pass page.cursor on unchanged")
        return written


def _nodes(
    root: ThreadRoot,
    namespace: str,
    channels: Mapping[str, Any],
    versions: Mapping[str, str | int | float],
    encode: Callable[[Any], Any] | None,
    parts: NewParts,
) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for name, value in channels.items():
        if not isinstance(name, str):
            raise InvalidValueError(f"{name!r} is not the name of a channel: use a string")
        known = root.channels.get((namespace, name))
        if known is not None and name in versions and known[0] == versions[name]:
            nodes[name] = known[1]
        else:
            plain = value if encode is None else encode(value)
            nodes[name] = take_apart(plain, parts, name, f"the channel {name!r}")
    return nodes


def _pending(task_id: str, task_path: str, channel: str, value: Any, parts: NewParts, replaced: bool) -> str:
    node = take_apart(value, parts, channel, "the write")
    write: dict[str, Any] = {"task": task_id, "channel": channel, "node": node}
    if task_path:
        write["path"] = task_path
    if replaced:
        write["replaced"] = True
    return dump(write, PENDING_WRITE)
