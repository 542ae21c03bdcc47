"""Checkpoints: every step of a thread, of which equal parts are stored once."""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from secrets import randbelow
from time import monotonic
from typing import Any
from uuid import uuid4

from pydantic_core import from_json, to_json

from .._errors import ConfigurationError, ConflictError, CorruptDataError, NotFoundError
from ..driver import Delete, Driver, If, Item, Key, Put, Value, Write, key, name, number, split, text
from ..driver._defaults import everything
from ..records import CheckpointRecord, PendingWrite, as_record
from ..structures import Known, Listing, Plan, attempt, sweep_now
from ..structures._sweeping import marker
from ._parts import Node, assemble, needed, take_apart

__all__ = ["CheckpointStore"]

_THREADS, _BASE = name("checkpoints.threads"), name("checkpoints")
_HEADS, _ORDER, _DOCS, _WRITES, _PARTS = name("h"), name("o"), name("d"), name("w"), name("p")
_FRESH_SECONDS = 30 * 60.0
_GRACE_MS = 60 * 60 * 1000
"""Parts that nothing needs are freed when they are older than this: who puts counts on those that are fresh."""
_REMEMBERED = 65_536
_AT_ONCE = 200


class CheckpointStore:
    """Checkpoints by thread, namespace and id; newest first means: put for the first time last.

    All of a thread lies below one number, which `checkpoints.threads!@<thread>` names: with that item a thread is deleted at
    once, and made anew. Parts are found by their digest, within their thread.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._known: OrderedDict[Key, float] = OrderedDict()
        """Parts that are stored, and when this was last seen to, by the monotonic clock."""

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
        """Store a checkpoint, JSON with bytes wherever there are bytes, and answer its id.

        An id that is there already is stored anew and keeps its place in the order. Two driver calls, and one more for
        each few hundred parts that are new. Raises `InvalidValueError`.
        """
        id = uuid4().hex if id is None else id
        parts: dict[str, Value] = {}
        node = take_apart(checkpoint, parts)
        document = {"id": id, "parent": parent_id, "node": node, "metadata": take_apart(dict(metadata or {}), parts)}
        incarnation = await self._incarnation(thread_id)
        base = key(_BASE, number(incarnation))
        missing = self._missing(base, parts)
        room = min(_AT_ONCE, self._driver.capabilities.max_writes - 4)
        while len(missing) > room:
            await self._driver.apply(missing[:room])
            missing = missing[room:]
        thread, head, doc = self._thread(thread_id), key(base, _HEADS, text(namespace)), _doc(base, namespace, id)

        def plan(known: Known) -> Plan[None]:
            owner, there = known[thread], known[doc]
            if owner is not None and _number(owner) != incarnation:
                raise _ThreadMoved
            following = 0 if known[head] is None else int(_parsed(known[head])["next"])
            place = following if there is None else int(_parsed(there)["place"])
            writes: list[Write] = [*missing, Put(doc, _dump({**document, "place": place}), _unchanged(there))]
            if owner is None:
                writes.append(Put(thread, str(incarnation), If.ABSENT))
            if there is None:
                told = {"next": following + 1, "latest": id, "namespace": namespace}
                writes += [
                    Put(head, _dump(told), _unchanged(known[head])),
                    Put(key(base, _ORDER, text(namespace), number(place)), id),
                ]
            return Plan(writes, None)

        try:
            await attempt(self._driver, [thread, head, doc], plan)
        except _ThreadMoved:  # deleted and made anew meanwhile
            return await self.put(
                thread_id, checkpoint, namespace=namespace, id=id, parent_id=parent_id, metadata=metadata
            )
        self._remember(key(base, _PARTS, text(digest)) for digest in parts)
        return id

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

        What is there already stays, unless `replace`: so the same call may be made again.
        """
        incarnation = await self._incarnation(thread_id)
        thread = self._thread(thread_id)
        base = key(_writes(key(_BASE, number(incarnation)), namespace, checkpoint_id), text(task_id))
        puts: list[Put] = []
        for at, (channel, value) in enumerate(writes, first):
            parts: dict[str, Value] = {}
            node = take_apart(value, parts)
            own = {digest: _portable(part) for digest, part in parts.items()}
            told = {"task": task_id, "index": at, "channel": channel, "node": node, "parts": own}
            puts.append(Put(key(base, number(at)), _dump(told)))
        keys = [thread, *(put.key for put in puts)]

        def plan(known: Known) -> Plan[None]:
            if known[thread] is not None and _number(known[thread]) != incarnation:
                raise _ThreadMoved
            new: list[Write] = [put for put in puts if replace or known[put.key] is None]
            if new and known[thread] is None:
                new.append(Put(thread, str(incarnation), If.ABSENT))
            return Plan(new, None)

        try:
            await attempt(self._driver, keys, plan)
        except _ThreadMoved:
            await self.put_writes(
                thread_id, checkpoint_id, task_id, writes, namespace=namespace, first=first, replace=replace
            )

    async def get(self, thread_id: str, *, namespace: str = "", id: str | None = None) -> CheckpointRecord | None:
        """A checkpoint by its id, or the latest, with its pending writes; `None` where there is none."""
        base = await self._base(thread_id)
        if base is None:
            return None
        if id is None:
            (head,) = await self._driver.get([key(base, _HEADS, text(namespace))])
            if head is None:
                return None
            id = str(_parsed(head)["latest"])
        (doc,) = await self._driver.get([_doc(base, namespace, id)])
        return None if doc is None else (await self._records(thread_id, namespace, base, [doc]))[0]

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

        async def fetch(position: str | None, room: int) -> tuple[Sequence[CheckpointRecord], str | None]:
            base = await self._base(thread_id)
            if base is None:
                return [], None
            order = key(base, _ORDER, text(namespace))
            if position is None and before is not None:
                (doc,) = await self._driver.get([_doc(base, namespace, before)])
                if doc is None:
                    raise NotFoundError(f"there is no checkpoint {before!r} in the thread {thread_id!r}")
                position = key(order, number(int(_parsed(doc)["place"])))
            page = await self._driver.scan(order, before=position, reverse=True, limit=min(room, _AT_ONCE))
            docs = await self._driver.get([_doc(base, namespace, str(item.value)) for item in page.items])
            found = await self._records(thread_id, namespace, base, [doc for doc in docs if doc is not None])
            wanted = dict(filter or {})
            matching = [each for each in found if wanted.items() <= (each.metadata or {}).items()] if wanted else found
            return matching, page.next

        query = ["checkpoints", thread_id, namespace, str(before), _dump(dict(filter or {}))]
        return Listing(query, fetch, limit=limit, cursor=cursor)

    async def namespaces(self, thread_id: str) -> Sequence[str]:
        """The namespaces of a thread."""
        base = await self._base(thread_id)
        return [] if base is None else [name async for name, _ in self._heads(base)]

    # Whole threads.

    async def delete_thread(self, thread_id: str) -> bool:
        """Remove all checkpoints of a thread in one step, whatever their number; answer whether there were any."""
        thread = self._thread(thread_id)

        def plan(known: Known) -> Plan[list[Write]]:
            writes = [*self.plan_delete(known, thread_id)]
            return Plan(writes, writes)

        writes = await attempt(self._driver, [thread], plan)
        await sweep_now(self._driver, writes)
        return bool(writes)

    def keys(self, thread_id: str) -> Sequence[Key]:
        """What `plan_delete` has to know."""
        return [self._thread(thread_id)]

    def plan_delete(self, known: Known, thread_id: str) -> Sequence[Write]:
        """The writes that remove all checkpoints of a thread, for the batch of what they belong to."""
        item = known[self._thread(thread_id)]
        if item is None:
            return []
        return [Delete(item.key, item.etag), marker(_AT_ONCE * 10, prefixes=(key(_BASE, number(_number(item))),))]

    async def copy_thread(self, source: str, target: str) -> int:
        """Copy all checkpoints, with their pending writes, to another thread; answer how many items that were.

        The target shows nothing until all is there. Raises `NotFoundError`, and `ConflictError` for a target that is there.
        """
        base = await self._base(source)
        if base is None:
            raise NotFoundError(f"there are no checkpoints of the thread {source!r}")
        incarnation = randbelow(10**16)
        copied = 0
        batch: list[Put] = []
        size = 0
        async for item in everything(self._driver, base):
            at = key(_BASE, number(incarnation), *split(item.key)[2:])
            put = Put(at, item.value if item.value is not None else "")
            if batch and (len(batch) == _AT_ONCE or size + len(put.value) > 1024 * 1024):
                await self._driver.apply(batch)
                batch, size = [], 0
            batch.append(put)
            size += len(put.value)
            copied += 1
        thread = self._thread(target)
        try:
            await self._driver.apply([*batch, Put(thread, str(incarnation), If.ABSENT)])
        except ConflictError as conflict:
            await self._driver.clear(key(_BASE, number(incarnation)))
            raise ConflictError(
                f"there are checkpoints of the thread {target!r} already", items=conflict.items
            ) from None
        return copied

    async def prune(self, thread_id: str, *, keep_last: int | None = None, max_age: timedelta | None = None) -> int:
        """Remove checkpoints that are not among the last `keep_last` of their namespace, or were put longer ago than `max_age`.

        Answers how many. The latest of each namespace always stays. What those that stay have in common with those that go
        stays too; the rest of their parts is freed when it is an hour old.
        """
        if keep_last is None and max_age is None:
            raise ConfigurationError("prune keeps everything: give keep_last=, max_age=, or both")
        if keep_last is not None and keep_last < 1:
            raise ConfigurationError(f"keep_last is {keep_last}: the latest always stays, delete_thread removes all")
        base = await self._base(thread_id)
        if base is None:
            return 0
        now = (await self._driver.health()).clock_ms
        limit = None if max_age is None else now - round(max_age.total_seconds() * 1000)
        removed = 0
        async for namespace, head in self._heads(base):
            latest = str(_parsed(head)["latest"])
            ids = [
                (item.key, str(item.value))
                async for item in everything(self._driver, key(base, _ORDER, text(namespace)))
            ]
            for at, (order, id) in enumerate(ids):
                (doc,) = await self._driver.get([_doc(base, namespace, id)], values=False)
                too_many = keep_last is not None and at < len(ids) - keep_last
                too_old = limit is not None and doc is not None and doc.updated_at < limit
                if id == latest or doc is None or not (too_many or too_old):
                    continue
                await self._driver.apply([Delete(doc.key), Delete(order)])
                await self._driver.clear(_writes(base, namespace, id))
                removed += 1
        await self._free_parts(base, now)
        return removed

    # How.

    def _thread(self, thread_id: str) -> Key:
        return key(_THREADS, text(thread_id))

    async def _base(self, thread_id: str) -> Key | None:
        (item,) = await self._driver.get([self._thread(thread_id)])
        return None if item is None else key(_BASE, number(_number(item)))

    async def _incarnation(self, thread_id: str) -> int:
        (item,) = await self._driver.get([self._thread(thread_id)])
        return randbelow(10**16) if item is None else _number(item)

    async def _heads(self, base: Key) -> AsyncIterator[tuple[str, Item]]:
        async for item in everything(self._driver, key(base, _HEADS)):
            yield str(_parsed(item)["namespace"]), item

    def _missing(self, base: Key, parts: Mapping[str, Value]) -> Sequence[Write]:
        """Puts of the parts that are not known to be there. What is there already is put again: it stays fresh."""
        fresh = monotonic() - _FRESH_SECONDS
        keyed = ((key(base, _PARTS, text(digest)), part) for digest, part in parts.items())
        return [Put(at, part) for at, part in keyed if self._known.get(at, float("-inf")) < fresh]

    def _remember(self, parts: Any) -> None:
        moment = monotonic()
        for at in parts:
            if self._known.get(at, float("-inf")) < moment - _FRESH_SECONDS:
                self._known[at] = moment
                self._known.move_to_end(at)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

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
        parts = await self._parts(digests)
        found = []
        for doc, document in zip(docs, parsed, strict=True):
            pending = [
                _pending(item) async for item in everything(self._driver, _writes(base, namespace, str(document["id"])))
            ]
            found.append(
                as_record(
                    CheckpointRecord,
                    {
                        "thread_id": thread_id,
                        "namespace": namespace,
                        "id": document["id"],
                        "parent_id": document["parent"],
                        "checkpoint": assemble(document["node"], parts),
                        "metadata": assemble(document["metadata"], parts),
                        "writes": pending,
                        "created_at": doc.updated_at,
                    },
                )
            )
        return found

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

    async def _free_parts(self, base: Key, now: int) -> None:
        """Remove the parts that no checkpoint needs, but those that are fresh: somebody may be about to need them."""
        used: set[Key] = set()
        async for doc in everything(self._driver, key(base, _DOCS)):
            document = _parsed(doc)
            for node in (document["node"], document["metadata"]):
                used |= {key(base, _PARTS, text(digest)) for digest in needed(node)}
        async for item in everything(self._driver, key(base, _PARTS), values=False):
            if item.key not in used and item.updated_at < now - _GRACE_MS:
                await self._driver.apply_many([[Delete(item.key, item.etag)]])


class _ThreadMoved(Exception):
    """The thread was deleted, or made anew, since its number was read."""


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


def _number(item: Item | None) -> int:
    if item is None or not isinstance(item.value, str) or not item.value.isdecimal():
        raise CorruptDataError("a thread's checkpoints are named by something that is no number")
    return int(item.value)


def _portable(part: Value) -> Node:
    """A part that stands where it is needed."""
    return {"v": part} if isinstance(part, str) else {"x": b64encode(part).decode()}


def _pending(item: Item) -> PendingWrite:
    told = _parsed(item)
    parts = {digest: assemble(node, {}) for digest, node in told["parts"].items()}
    value = assemble(told["node"], parts)
    return PendingWrite(task_id=told["task"], index=told["index"], channel=told["channel"], value=value)
