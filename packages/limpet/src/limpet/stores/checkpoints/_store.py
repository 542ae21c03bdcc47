"""Checkpoints: every step of a thread, with equal parts stored once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from ..._arguments import checked_arguments
from ..._errors import ConflictError, CorruptDataError, InvalidValueError, NotFoundError
from ..._json import dump_plain
from ...driver import Cond, Driver, If, Item, Key, Put, Range, Value, Write, key, number, split, text
from ...driver.kit import size_of
from ...records import CheckpointRecord
from ...structures import KeysBelow, Listing, Numbers, Plan, ReadSet, get_each, transact
from .._formats import CHECKPOINT_HEAD
from ._copy import copy_thread
from ._documents import (
    AT_ONCE,
    BATCH_BYTES,
    HEADS,
    ORDER,
    PARTS,
    document_key,
    dump,
    dump_write,
    load,
    load_head,
    read_each,
    read_records,
    writes_key,
)
from ._parts import take_apart
from ._prune import prune_thread
from ._threads import ThreadCache, ThreadMovedError, ThreadRoot, root_of, thread_key

__all__ = ["CheckpointStore"]


@checked_arguments
class CheckpointStore:
    """Checkpoints by thread, namespace and id; newest first means: put for the first time last.

    All of a thread lies below one number, which `checkpoints.threads!@<thread>` names: with that item a thread is deleted at
    once, and made anew. Parts are found by their digest, within their thread.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._cache = ThreadCache()

    async def put(
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
        id = uuid4().hex if id is None else id
        parts: dict[str, Value] = {}
        node = take_apart(checkpoint, parts)
        document = {
            "id": id,
            "parent": parent_id,
            "node": node,
            "metadata": take_apart(dict(metadata or {}), parts, "the metadata"),
        }
        while True:
            root = await self._root(thread_id)
            try:
                await self._put(root, namespace, document, parts)
            except ThreadMovedError:
                self._cache.forget(thread_id)
            else:
                self._cache.keep(thread_id, root)
                return id

    async def _put(
        self, root: ThreadRoot, namespace: str, document: Mapping[str, Any], parts: Mapping[str, Value]
    ) -> None:
        base, id = root.base, str(document["id"])
        head, doc = key(base, HEADS, text(namespace)), document_key(base, namespace, id)
        missing = [Put(key(base, PARTS, text(at)), part) for at, part in parts.items() if at not in root.parts]
        *before, last = list(_batches(missing, min(AT_ONCE, self._driver.capabilities.max_writes - 6))) or [[]]
        for some in before:
            guard = root.guard()
            try:
                await self._driver.apply([*guard, *some])
            except ConflictError:
                raise ThreadMovedError from None
            root.written(guard)
        guard = root.guard()

        def plan(reads: ReadSet) -> Plan[Item | None]:
            if root.thread in reads:  # read because it was another
                raise ThreadMovedError
            there = reads[doc]
            following = 0 if reads[head] is None else int(load_head(reads[head])["next"])
            at = following if there is None else int(load(there)["position"])
            writes: list[Write] = [*guard, *last, Put(doc, dump({**document, "position": at}), _as_read(there))]
            if there is not None:
                return Plan(writes, reads[head])
            following_head = dump({"next": following + 1, "latest": id, "namespace": namespace}, CHECKPOINT_HEAD)
            new = Put(head, following_head, _as_read(reads[head]))
            return Plan([*writes, new, Put(key(base, ORDER, text(namespace), number(at)), id)], _as_item(new))

        assume: dict[Key, Item | None] = {}
        if namespace in root.heads:
            assume = {head: root.heads[namespace], doc: None}
        elif root.item is None:
            assume = {head: None, doc: None}
        root.heads[namespace] = await transact(self._driver, [head, doc], plan, assume=assume)
        root.written(guard)
        root.remember(list(parts))

    async def put_writes(
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
        written: list[tuple[int, str]] = []
        for at, write in enumerate(writes, first):
            if not isinstance(write, (list, tuple)) or len(write) != 2 or not isinstance(write[0], str):
                raise InvalidValueError("writes takes pairs of a channel's name and a value")
            channel, value = write
            parts: dict[str, Value] = {}
            node = take_apart(value, parts, "the write")
            written.append((at, dump_write(task_id, at, channel, node, parts)))
        while True:
            root = await self._root(thread_id)
            base = key(writes_key(root.base, namespace, checkpoint_id), text(task_id))
            try:
                await self._put_writes(root, [Put(key(base, number(at)), value) for at, value in written], replace)
            except ThreadMovedError:
                self._cache.forget(thread_id)
            else:
                self._cache.keep(thread_id, root)
                return

    async def _put_writes(self, root: ThreadRoot, puts: Sequence[Put], replace: bool) -> None:
        guard = root.guard()

        def plan(reads: ReadSet) -> Plan[bool]:
            if root.thread in reads:
                raise ThreadMovedError
            new = [put for put in puts if replace or reads[put.key] is None]
            kept = [put if replace else Put(put.key, put.value, If.ABSENT) for put in new]
            return Plan([*guard, *kept] if new else [], bool(new))

        if await transact(self._driver, [put.key for put in puts], plan):
            root.written(guard)

    async def get(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> CheckpointRecord | None:
        """Return a checkpoint by id, or the latest, with its pending writes; or `None`.

        Three driver calls where this process knows the thread, and which one was the latest; up to two more where not.
        """
        seen: set[str] = set()
        while (root := await self._there(thread_id)) is not None:
            head = key(root.base, HEADS, text(namespace))
            guess = root.heads.get(namespace)
            wanted = id if id is not None or guess is None else str(load_head(guess)["latest"])
            keys = [root.thread, head, *([] if wanted is None else [document_key(root.base, namespace, wanted)])]
            thread, now, *docs = await self._driver.get(keys)
            if thread is None or not root.is_named_by(thread):
                self._cache.forget(thread_id)
                continue
            root.heads[namespace] = now
            if id is None:
                if now is None:
                    return None
                latest = str(load_head(now)["latest"])
                if latest != wanted:
                    docs = await self._driver.get([document_key(root.base, namespace, latest)])
            found = (
                [] if docs[0] is None else await read_records(self._driver, thread_id, namespace, root.base, [docs[0]])
            )
            if found or id is not None or now is None:
                return found[0] if found else None
            # The latest is never pruned: it is no longer the latest, or the thread was deleted.
            if now.etag in seen:
                raise CorruptDataError(f"the latest checkpoint of the thread {thread_id!r}, {latest!r}, is missing")
            seen.add(now.etag)
        return None

    async def exists(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> bool:
        """Whether there is a checkpoint with this id, or any in the namespace. Two driver calls."""
        base = await self._base(thread_id)
        if base is None:
            return False
        at = key(base, HEADS, text(namespace)) if id is None else document_key(base, namespace, id)
        (item,) = await self._driver.get([at], values=False)
        return item is not None

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

        async def fetch(
            position: str | None, count: int
        ) -> tuple[Sequence[CheckpointRecord | CorruptDataError], str | None]:
            base = await self._base(thread_id)
            if base is None:
                return [], None
            order = key(base, ORDER, text(namespace))
            end = None if position is None else int(position)
            if before is not None:  # for a cursor too, which must not lead behind it
                (doc,) = await self._driver.get([document_key(base, namespace, before)])
                if doc is None:
                    raise NotFoundError(f"there is no checkpoint {before!r} in the thread {thread_id!r}")
                bound = int(load(doc)["position"])
                end = bound if end is None else min(end, bound)
            below = None if end is None else key(order, number(end))
            page = await self._driver.scan(Range(order, before=below, reverse=True, limit=min(count, AT_ONCE)))
            docs = await get_each(self._driver, [document_key(base, namespace, str(item.value)) for item in page.items])
            there = [doc for doc in docs if doc is not None]
            found = await read_each(self._driver, thread_id, namespace, base, there)
            wanted = dict(filter or {})
            matching = [
                each for each in found if isinstance(each, CorruptDataError) or wanted.items() <= each.metadata.items()
            ]
            return matching, None if page.next is None else split(page.next)[-1]

        query = ["checkpoints", thread_id, namespace, str(before), dump_plain(dict(filter or {}), "filter")]
        return Listing(query, fetch, limit=limit, cursor=cursor, positions=Numbers())

    def namespaces(self, thread_id: str, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """The namespaces of a thread, in the driver's order of their names."""

        async def fetch(position: str | None, count: int) -> tuple[Sequence[str], str | None]:
            base = await self._base(thread_id)
            if base is None:
                return [], None
            heads = KeysBelow(key(base, HEADS))  # known only here: a thread that is made anew has another base
            after = None if position is None else heads.read(position)
            page = await self._driver.scan(Range(key(base, HEADS), after=after, limit=count))
            following = None if page.next is None else heads.written(page.next)
            return [str(load_head(item)["namespace"]) for item in page.items], following

        return Listing(["checkpoint namespaces", thread_id], fetch, limit=limit, cursor=cursor)

    # Whole threads.

    async def delete(self, thread_id: str) -> bool:
        """Remove all checkpoints of a thread in one step, whatever their number; return whether there were any."""
        thread = thread_key(thread_id)

        def plan(reads: ReadSet) -> Plan[bool]:
            there = reads[thread] is not None and not root_of(thread, reads[thread]).copying
            return Plan(self.plan_delete(reads, thread_id), there)

        return await transact(self._driver, [thread], plan)

    def keys(self, thread_id: str) -> Sequence[Key]:
        """What `plan_delete` has to know."""
        return [thread_key(thread_id)]

    def plan_delete(self, reads: ReadSet, thread_id: str) -> Sequence[Write]:
        """The writes that remove all checkpoints of a thread, for the batch of what they belong to."""
        item = reads[thread_key(thread_id)]
        return [] if item is None else root_of(item.key, item).removed()

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

    async def _root(self, thread_id: str) -> ThreadRoot:
        if (root := self._cache.get(thread_id)) is not None:
            return root
        thread = thread_key(thread_id)
        (item,) = await self._driver.get([thread])
        root = root_of(thread, item)
        return root_of(thread, item, anew=True) if root.copying else root

    async def _there(self, thread_id: str) -> ThreadRoot | None:
        """The place of a thread that has one, which may be gone since."""
        root = self._cache.get(thread_id)
        if root is None or root.item is None:
            thread = thread_key(thread_id)
            (item,) = await self._driver.get([thread])
            if item is None or (root := root_of(thread, item)).copying:
                return None
            self._cache.keep(thread_id, root)
        return root

    async def _base(self, thread_id: str) -> Key | None:
        thread = thread_key(thread_id)
        (item,) = await self._driver.get([thread])
        return None if item is None or (root := root_of(thread, item)).copying else root.base


def _as_read(item: Item | None) -> Cond:
    return If.ABSENT if item is None else item.etag


def _as_item(put: Put) -> Item:
    return Item(put.key, put.value, put.etag, 0)


def _batches(puts: Sequence[Put], count: int) -> Iterator[Sequence[Put]]:
    """The puts in batches that every driver takes."""
    start, size = 0, 0
    for at, put in enumerate(puts):
        if at > start and (at - start == count or size + size_of(put.value) > BATCH_BYTES):
            yield puts[start:at]
            start, size = at, 0
        size += size_of(put.value)
    if start < len(puts):
        yield puts[start:]
