"""Checkpoints: every step of a thread, of which equal parts are stored once."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from pydantic_core import from_json, to_json

from ..._errors import ConfigurationError, ConflictError, CorruptDataError, NotFoundError
from ..._json import dump_plain
from ...driver import Delete, Driver, If, Item, Key, Put, Range, Value, Write, key, name, number, split, text
from ...driver.kit import backend_now_ms, scan_all, size_of
from ...records import CheckpointRecord, PendingWrite, as_record
from ...structures import Listing, Plan, ReadSet, transact
from ._parts import Node, assemble, needed, take_apart
from ._threads import ThreadCache, ThreadMovedError, ThreadRoot, root_of, thread_key

__all__ = ["CheckpointStore"]

_HEADS, _ORDER, _DOCS, _WRITES, _PARTS = name("h"), name("o"), name("d"), name("w"), name("p")
_GRACE_MS = 60 * 60 * 1000
"""What nothing needs is freed when it is older than this: somebody may have stored it for a checkpoint to come."""
_AT_ONCE = 200
_BATCH_BYTES = 1024 * 1024


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

        An id that is there already is stored anew and keeps its place in the order. One driver call after the first, and
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
        head, doc = key(base, _HEADS, text(namespace)), _doc(base, namespace, id)
        missing = [Put(key(base, _PARTS, text(at)), part) for at, part in parts.items() if at not in root.parts]
        *before, last = list(_batches(missing, min(_AT_ONCE, self._driver.capabilities.max_writes - 6))) or [[]]
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
            following = 0 if reads[head] is None else int(_parsed(reads[head])["next"])
            at = following if there is None else int(_parsed(there)["position"])
            writes: list[Write] = [*guard, *last, Put(doc, _dump({**document, "position": at}), _unchanged(there))]
            if there is not None:
                return Plan(writes, reads[head])
            following_head = _dump({"next": following + 1, "latest": id, "namespace": namespace})
            new = Put(head, following_head, _unchanged(reads[head]))
            return Plan([*writes, new, Put(key(base, _ORDER, text(namespace), number(at)), id)], _as_item(new))

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
        for at, (channel, value) in enumerate(writes, first):
            parts: dict[str, Value] = {}
            node = take_apart(value, parts, "the write")
            own = {digest: _portable(part) for digest, part in parts.items()}
            written.append((at, _dump({"task": task_id, "index": at, "channel": channel, "node": node, "parts": own})))
        while True:
            root = await self._root(thread_id)
            base = key(_writes(root.base, namespace, checkpoint_id), text(task_id))
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
        """A checkpoint by its id, or the latest, with its pending writes; `None` where there is none.

        Three driver calls where this process knows the thread, and which one was the latest; up to two more where not.
        """
        seen: set[str] = set()
        while (root := await self._there(thread_id)) is not None:
            head = key(root.base, _HEADS, text(namespace))
            guess = root.heads.get(namespace)
            wanted = id if id is not None or guess is None else str(_parsed(guess)["latest"])
            keys = [root.thread, head, *([] if wanted is None else [_doc(root.base, namespace, wanted)])]
            thread, now, *docs = await self._driver.get(keys)
            if thread is None or not root.is_named_by(thread):
                self._cache.forget(thread_id)
                continue
            root.heads[namespace] = now
            if id is None:
                if now is None:
                    return None
                latest = str(_parsed(now)["latest"])
                if latest != wanted:
                    docs = await self._driver.get([_doc(root.base, namespace, latest)])
            found = [] if docs[0] is None else await self._records(thread_id, namespace, root.base, [docs[0]])
            if found or id is not None or now is None:
                return found[0] if found else None
            # The latest is never pruned: it is no longer the latest, or the thread was deleted.
            if now.etag in seen:
                raise CorruptDataError(f"the latest checkpoint of the thread {thread_id!r}, {latest!r}, is missing")
            seen.add(now.etag)
        return None

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

        async def fetch(position: str | None, count: int) -> tuple[Sequence[CheckpointRecord], str | None]:
            base = await self._base(thread_id)
            if base is None:
                return [], None
            order = key(base, _ORDER, text(namespace))
            if position is None and before is not None:
                (doc,) = await self._driver.get([_doc(base, namespace, before)])
                if doc is None:
                    raise NotFoundError(f"there is no checkpoint {before!r} in the thread {thread_id!r}")
                position = key(order, number(int(_parsed(doc)["position"])))
            page = await self._driver.scan(Range(order, before=position, reverse=True, limit=min(count, _AT_ONCE)))
            docs = await self._driver.get([_doc(base, namespace, str(item.value)) for item in page.items])
            found = await self._records(thread_id, namespace, base, [doc for doc in docs if doc is not None])
            wanted = dict(filter or {})
            matching = [each for each in found if wanted.items() <= each.metadata.items()] if wanted else found
            return matching, page.next

        query = ["checkpoints", thread_id, namespace, str(before), dump_plain(dict(filter or {}), "filter")]
        return Listing(query, fetch, limit=limit, cursor=cursor)

    async def namespaces(self, thread_id: str) -> Sequence[str]:
        """The namespaces of a thread."""
        base = await self._base(thread_id)
        return [] if base is None else [name async for name, _ in self._heads(base)]

    # Whole threads.

    async def delete_thread(self, thread_id: str) -> bool:
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

    async def copy_thread(self, source: str, target: str) -> int:
        """Copy all checkpoints, with their pending writes, to another thread; return how many items that were.

        The target shows nothing until all is there. Raises `NotFoundError`, and `ConflictError` for a target that is there,
        or that somebody else wrote to meanwhile. What a copy that died left is freed with the next write to the target.
        """
        thread = thread_key(target)
        while True:
            origin, item = await self._driver.get([thread_key(source), thread])
            if item is not None and not root_of(thread, item).copying:
                raise ConflictError(f"there are checkpoints of the thread {target!r} already", items={thread: item})
            if origin is None or (theirs := root_of(origin.key, origin)).copying:
                if item is not None:
                    await self._driver.commit([root_of(thread, item).removed()])
                raise NotFoundError(f"there are no checkpoints of the thread {source!r}")
            root = root_of(thread, item, anew=True)
            root.copying = True
            try:
                copied = await self._copy(theirs, root)
            except ConflictError as conflict:
                raise ConflictError(f"somebody else wrote to the thread {target!r}", items=conflict.items) from None
            if copied is not None:
                return copied

    async def _copy(self, theirs: ThreadRoot, root: ThreadRoot) -> int | None:
        """Copy what is below one place to another; `None` where it was deleted or pruned meanwhile."""
        await self._rewrite(root, [])
        copied, size = 0, 0
        batch: list[Put] = []
        async for item in self._snapshot(theirs.base):
            value = "" if item.value is None else item.value
            if batch and (len(batch) == _AT_ONCE or size + size_of(value) > _BATCH_BYTES):
                await self._rewrite(root, batch)
                batch, size = [], 0
            batch.append(Put(key(root.base, *split(item.key)[2:]), value))
            size += size_of(value)
            copied += 1
        (now,) = await self._driver.get([theirs.thread])
        if theirs.item is None or now is None or now.etag != theirs.item.etag:
            return None
        root.copying = False
        await self._rewrite(root, batch)
        return copied

    async def _rewrite(self, root: ThreadRoot, puts: Sequence[Put]) -> None:
        guard = root.rewritten()
        await self._driver.apply([*guard, *puts])
        root.written(guard)

    async def _snapshot(self, base: Key) -> AsyncIterator[Item]:
        """All of a thread as it was when its heads were read: what was put since is left out."""
        following: dict[str, int] = {}
        async for item in scan_all(self._driver, key(base, _HEADS)):
            following[split(item.key)[3]] = int(_parsed(item)["next"])
            yield item
        for kind in (_ORDER, _DOCS, _WRITES, _PARTS):
            async for item in scan_all(self._driver, key(base, kind)):
                segments = split(item.key)
                if kind == _ORDER and int(segments[4]) >= following.get(segments[3], 0):
                    continue
                if kind == _DOCS and int(_parsed(item)["position"]) >= following.get(segments[3], 0):
                    continue
                yield item

    async def prune(self, thread_id: str, *, keep_last: int | None = None, max_age: timedelta | None = None) -> int:
        """Remove checkpoints that are not among the last `keep_last` of their namespace, or were put longer ago than `max_age`.

        Returns how many. The latest of each namespace always stays, and so does one that is put while this runs. What those
        that stay have in common with those that go stays too; the rest of their parts is freed when it is an hour old.
        """
        if keep_last is None and max_age is None:
            raise ConfigurationError("prune keeps everything: give keep_last=, max_age=, or both")
        if keep_last is not None and keep_last < 1:
            raise ConfigurationError(f"keep_last is {keep_last}: the latest always stays, delete_thread removes all")
        base = await self._announce_pruning(thread_id)
        if base is None:
            return 0
        now = await backend_now_ms(self._driver)
        limit = None if max_age is None else now - round(max_age.total_seconds() * 1000)
        removed = 0
        async for namespace, head in self._heads(base):
            latest = str(_parsed(head)["latest"])
            order = [item async for item in scan_all(self._driver, key(base, _ORDER, text(namespace)))]
            for at, item in enumerate(order):
                (doc,) = await self._driver.get([_doc(base, namespace, str(item.value))], values=False)
                too_many = keep_last is not None and at < len(order) - keep_last
                too_old = limit is not None and doc is not None and doc.updated_at < limit
                if item.value != latest and doc is not None and (too_many or too_old):
                    removed += await self._remove(base, namespace, item, doc)
        await self._free(base, now)
        return removed

    async def _announce_pruning(self, thread_id: str) -> Key | None:
        """From here on nobody counts on parts that were stored before; where they lie."""
        thread = thread_key(thread_id)

        def plan(reads: ReadSet) -> Plan[Key | None]:
            if reads[thread] is None or (root := root_of(thread, reads[thread])).copying:
                return Plan([], None)
            root.prunes += 1
            return Plan(root.rewritten(), root.base)

        return await transact(self._driver, [thread], plan)

    async def _remove(self, base: Key, namespace: str, order: Item, doc: Item) -> bool:
        """Remove a checkpoint with its pending writes, unless it was put again meanwhile."""
        page = await self._driver.scan(
            Range(
                _writes(base, namespace, str(order.value)),
                values=False,
                limit=min(_AT_ONCE, self._driver.capabilities.max_writes - 2),
            )
        )
        pending = [Delete(item.key) for item in page.items]
        try:
            await self._driver.apply([Delete(doc.key, doc.etag), Delete(order.key), *pending])
        except ConflictError:
            return False
        return True

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

    async def _heads(self, base: Key) -> AsyncIterator[tuple[str, Item]]:
        async for item in scan_all(self._driver, key(base, _HEADS)):
            yield str(_parsed(item)["namespace"]), item

    async def _records(
        self, thread_id: str, namespace: str, base: Key, docs: Sequence[Item]
    ) -> Sequence[CheckpointRecord]:
        parsed = [_parsed(doc) for doc in docs]
        digests = {
            digest: key(base, _PARTS, text(digest))
            for document in parsed
            for node in (document["node"], document["metadata"])
            for digest in needed(node)
        }
        waiting = asyncio.gather(*(self._pending(base, namespace, str(each["id"])) for each in parsed))
        parts, pending = await asyncio.gather(self._parts(digests), waiting)
        try:
            return [
                as_record(
                    CheckpointRecord,
                    {
                        "thread_id": thread_id,
                        "namespace": namespace,
                        "id": document["id"],
                        "parent_id": document["parent"],
                        "checkpoint": assemble(document["node"], parts),
                        "metadata": assemble(document["metadata"], parts),
                        "writes": writes,
                        "created_at": doc.updated_at,
                    },
                )
                for doc, document, writes in zip(docs, parsed, pending, strict=True)
            ]
        except CorruptDataError:
            # Somebody may have pruned them, or deleted the thread, since they were read.
            now = await self._driver.get([doc.key for doc in docs])
            if [doc.etag for doc in docs] == [item and item.etag for item in now]:
                raise
            return await self._records(thread_id, namespace, base, [item for item in now if item is not None])

    async def _pending(self, base: Key, namespace: str, id: str) -> Sequence[PendingWrite]:
        return [_pending(item) async for item in scan_all(self._driver, _writes(base, namespace, id))]

    async def _parts(self, digests: Mapping[str, Key]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        wanted = list(digests)
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            items = await self._driver.get([digests[digest] for digest in some])
            found |= {
                digest: item.value
                for digest, item in zip(some, items, strict=True)
                if item is not None and item.value is not None
            }
        return found

    async def _free(self, base: Key, now: int) -> None:
        """Remove the parts and pending writes of no checkpoint, but those that are fresh: one may be about to come."""
        used: set[Key] = set()
        async for doc in scan_all(self._driver, key(base, _DOCS)):
            document = _parsed(doc)
            used.add(key(base, _WRITES, *split(doc.key)[3:]))
            for node in (document["node"], document["metadata"]):
                used |= {key(base, _PARTS, text(digest)) for digest in needed(node)}
        for kind in (_PARTS, _WRITES):
            async for item in scan_all(self._driver, key(base, kind), values=False):
                of = item.key if kind == _PARTS else key(*split(item.key)[:5])
                if of not in used and item.updated_at < now - _GRACE_MS:
                    await self._driver.commit([[Delete(item.key, item.etag)]])


def _doc(base: Key, namespace: str, id: str) -> Key:
    return key(base, _DOCS, text(namespace), text(id))


def _writes(base: Key, namespace: str, id: str) -> Key:
    return key(base, _WRITES, text(namespace), text(id))


def _unchanged(item: Item | None) -> Any:
    return If.ABSENT if item is None else item.etag


def _dump(value: Any) -> str:
    return to_json(value).decode()


def _parsed(item: Item | None) -> dict[str, Any]:
    assert item is not None
    try:
        parsed = from_json(item.value or "")
    except ValueError as error:
        raise CorruptDataError(f"the item at {item.key!r} cannot be read: {error}") from error
    if not isinstance(parsed, dict):
        raise CorruptDataError(f"the item at {item.key!r} is no checkpoint")
    return parsed


def _as_item(put: Put) -> Item:
    return Item(put.key, put.value, put.etag, 0)


def _batches(puts: Sequence[Put], count: int) -> Iterator[Sequence[Put]]:
    """The puts in batches that every driver takes."""
    start, size = 0, 0
    for at, put in enumerate(puts):
        if at > start and (at - start == count or size + size_of(put.value) > _BATCH_BYTES):
            yield puts[start:at]
            start, size = at, 0
        size += size_of(put.value)
    if start < len(puts):
        yield puts[start:]


def _portable(part: Value) -> Node:
    """A part that stands where it is needed."""
    return {"v": part} if isinstance(part, str) else {"x": b64encode(part).decode()}


def _pending(item: Item) -> PendingWrite:
    fields = _parsed(item)
    parts = {digest: assemble(node, {}) for digest, node in fields["parts"].items()}
    value = assemble(fields["node"], parts)
    return PendingWrite(task_id=fields["task"], index=fields["index"], channel=fields["channel"], value=value)
