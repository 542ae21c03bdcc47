"""The lists of checkpoints: of a thread, of all threads, and from a checkpoint to its ancestors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ..._errors import CorruptDataError, InvalidCursorError, InvalidValueError, NotFoundError
from ..._filters import ALL, All
from ..._json import dump_plain
from ...driver import Key, Range, key
from ...records import CheckpointRecord
from ...structures import KeysBelow, Listing, Positions
from ._documents import AT_ONCE, load_namespace
from ._keys import NAMESPACES, Address, Sort, is_sort, up_to
from ._reading import Found, Reader
from ._threads import THREADS, ThreadMovedError, ThreadRoot, root_at

__all__ = ["list_ancestors", "list_checkpoints", "list_namespaces", "list_threads"]

_Records: TypeAlias = Sequence[CheckpointRecord | CorruptDataError]
_FOR_A_CHAIN = 50
"""Checkpoints that are read at once on the way to ancestors, which mostly lie right before each other."""


def list_checkpoints(
    reader: Reader,
    thread_id: str | All,
    namespace: str | All,
    before: str | None,
    filter: Mapping[str, Any],
    limit: int | None,
    cursor: str | None,
) -> Listing[CheckpointRecord]:
    """What `CheckpointStore.list` does."""
    walk = _Walk(reader, thread_id, namespace, before, dict(filter))
    query = ["checkpoints", repr(thread_id), repr(namespace), repr(before), dump_plain(dict(filter), "filter")]
    return Listing(query, walk.fetch, limit=limit, cursor=cursor, positions=_Sorts() if walk.is_one else None)


class _Walk:
    """Goes through the namespaces of threads, and in each from the latest checkpoint to the first."""

    def __init__(
        self, reader: Reader, thread_id: str | All, namespace: str | All, before: str | None, wanted: dict[str, Any]
    ) -> None:
        self._reader = reader
        self._thread_id, self._namespace, self._before, self._wanted = thread_id, namespace, before, wanted
        self.is_one = thread_id is not ALL and namespace is not ALL
        """Whether it is all in one namespace: then a position is a place in its order."""
        if before is not None and not self.is_one and Address("x", "", before).sort is None:
            raise InvalidValueError(
                f"before={before!r} belongs to one namespace of one thread: name both. Only UUIDs of version 6 and 7 say "
                "themselves where they belong in all of them"
            )

    async def fetch(self, position: str | None, count: int) -> tuple[_Records, str | None]:
        """Some checkpoints of one namespace, and where to go on."""
        if self.is_one:
            while (root := await self._reader.there(str(self._thread_id))) is not None:
                try:
                    found = await self._page(root, str(self._namespace), position, count)
                except ThreadMovedError:
                    continue
                return self._matching(found), found.steps[-1].sort if found.more else None
            return [], None
        thread_at, namespace_at, sort = _parsed(position)
        root = await self._thread(thread_at)
        while root is not None:
            try:
                namespace, at = await self._next(root, namespace_at, within=bool(sort))
                if namespace is None:
                    break
                found = await self._page(root, namespace, sort or None, count)
            except ThreadMovedError:
                root = await self._reader.there(root.thread_id)
                continue
            rest = found.steps[-1].sort if found.more else ""
            return self._matching(found), "\n".join([_below(THREADS, root.thread), at, rest])
        following = await self._following(thread_at if root is None else _below(THREADS, root.thread))
        return [], None if following is None else "\n".join([following, "", ""])

    async def _page(self, root: ThreadRoot, namespace: str, position: Sort | None, count: int) -> Found:
        address = Address(root.base, namespace, self._before or "")
        end = None if position is None else key(address.documents, position)
        if self._before is not None:  # for a cursor too, which must not lead behind it
            bound = key(address.documents, await _bound(self._reader, root, address))
            end = bound if end is None else min(end, bound)
        count = min(count, AT_ONCE)
        return await self._reader.page(root, namespace, end, count, 3 * count + 8)

    def _matching(self, found: Found) -> _Records:
        return [
            each
            for each in found.records
            if isinstance(each, CorruptDataError) or self._wanted.items() <= each.metadata.items()
        ]

    async def _thread(self, at: str) -> ThreadRoot | None:
        """The thread at a position; at the beginning the first one."""
        if self._thread_id is not ALL:
            return await self._reader.there(self._thread_id)
        if not at:
            first = await self._following("")
            if first is None:
                return None
            at = first
        (item,) = await self._reader.driver.get([_read(THREADS, at)])
        root = None if item is None else root_at(item)
        return None if root is None else await self._reader.there(root.thread_id)

    async def _following(self, at: str) -> str | None:
        """The position of the next thread; `None` where the list is of one."""
        if self._thread_id is not ALL:
            return None
        rest: Range | None = Range(THREADS, after=_read(THREADS, at) if at else None, limit=20)
        while rest is not None:
            page = await self._reader.driver.scan(rest)
            for item in page.items:
                if root_at(item).is_there:
                    return _below(THREADS, item.key)
            rest = rest.beyond(page)
        return None

    async def _next(self, root: ThreadRoot, at: str, *, within: bool) -> tuple[str | None, str]:
        """The namespace behind a position, or `within` it, and its own position."""
        base = key(root.base, NAMESPACES)
        if self._namespace is not ALL:
            own = _below(base, Address(root.base, self._namespace, "").namespace_key)
            return (self._namespace, own) if within or not at else (None, "")
        after = _read(base, at) if at else None
        if within and after is not None:
            (item,) = await self._reader.driver.get([after])
            return (None, "") if item is None else (load_namespace(item)["namespace"], at)
        rest: Range | None = Range(base, after=after, limit=20)
        while rest is not None:
            page = await self._reader.driver.scan(rest)
            for item in page.items:
                if (found := load_namespace(item)).get("shown"):
                    return found["namespace"], _below(base, item.key)
            rest = rest.beyond(page)
        return None, ""


def list_ancestors(
    reader: Reader, thread_id: str, namespace: str, id: str | None, limit: int | None, cursor: str | None
) -> Listing[CheckpointRecord]:
    """What `CheckpointStore.history` does."""

    async def fetch(position: str | None, count: int) -> tuple[_Records, str | None]:
        wanted = id if position is None else position
        found: dict[str, CheckpointRecord] = {}
        seen: dict[str, CheckpointRecord | CorruptDataError] = {}
        count = min(count, AT_ONCE)
        while len(found) < count:
            if wanted is None or wanted not in seen:
                step = await _some(reader, thread_id, namespace, wanted, min(count - len(found) + 1, _FOR_A_CHAIN))
                if not step:
                    if wanted == id and wanted is not None:
                        raise NotFoundError(f"there is no checkpoint {wanted!r} in the thread {thread_id!r}")
                    return list(found.values()), None
                if isinstance(step[0], CorruptDataError):
                    return [*found.values(), step[0]], None
                seen |= {each.id: each for each in step if not isinstance(each, CorruptDataError)}
                wanted = step[0].id
            if wanted in found:
                raise CorruptDataError(f"the checkpoint {wanted!r} of the thread {thread_id!r} is its own ancestor")
            record = seen[wanted]
            assert isinstance(record, CheckpointRecord)
            found[wanted] = record
            if record.parent_id is None:
                return list(found.values()), None
            wanted = record.parent_id
        return list(found.values()), wanted

    return Listing(["checkpoint history", thread_id, namespace, repr(id)], fetch, limit=limit, cursor=cursor)


async def _some(reader: Reader, thread_id: str, namespace: str, id: str | None, count: int) -> _Records:
    """A checkpoint, or the latest, and those before it, which may be its ancestors; nothing where it is not there."""
    while (root := await reader.there(thread_id)) is not None:
        address = Address(root.base, namespace, id or "")
        try:
            if id is None:
                return (await reader.page(root, namespace, None, count, 3 * count + 8)).records
            sort = await reader.sort_of(root, address)
            if sort is None:
                await reader.confirm(root)
                return []
            before: Key = up_to(address.documents, sort)
            found = await reader.page(root, namespace, before, count, 3 * count + 8, exactly=True)
        except ThreadMovedError:
            continue
        return found.records if found.steps and found.steps[0].sort == sort else []
    return []


def list_namespaces(reader: Reader, thread_id: str, limit: int | None, cursor: str | None) -> Listing[str]:
    """What `CheckpointStore.namespaces` does."""

    async def fetch(position: str | None, count: int) -> tuple[Sequence[str], str | None]:
        while (root := await reader.there(thread_id)) is not None:
            base = key(root.base, NAMESPACES)  # known only here: a thread that is made anew has another base
            after = None if position is None else KeysBelow(base).read(position)
            page = await reader.driver.scan(Range(base, after=after, limit=count))
            try:
                await reader.confirm(root)
            except ThreadMovedError:
                continue
            found = [load_namespace(item) for item in page.items]
            following = None if page.next is None else _below(base, page.next)
            return [str(each["namespace"]) for each in found if each.get("shown")], following
        return [], None

    return Listing(["checkpoint namespaces", thread_id], fetch, limit=limit, cursor=cursor)


def list_threads(reader: Reader, limit: int | None, cursor: str | None) -> Listing[str]:
    """What `CheckpointStore.threads` does."""

    async def fetch(position: str | None, count: int) -> tuple[Sequence[str], str | None]:
        page = await reader.driver.scan(Range(THREADS, after=position, limit=count))
        roots = [root_at(item) for item in page.items]
        return [root.thread_id for root in roots if root.is_there], page.next

    return Listing(["checkpoint threads"], fetch, limit=limit, cursor=cursor, positions=KeysBelow(THREADS))


class _Sorts(Positions):
    """Positions are places in the order of checkpoints."""

    def read(self, written: str) -> str:
        if not is_sort(written):
            raise _damaged()
        return written


async def _bound(reader: Reader, root: ThreadRoot, address: Address) -> Sort:
    """Where a checkpoint is in the order. Raises `NotFoundError`."""
    if address.sort is not None:
        return address.sort
    sort = await reader.sort_of(root, address)
    if sort is not None:
        (doc,) = await reader.driver.get([address.document(sort)], values=False)
        if doc is not None:
            return sort
    await reader.confirm(root)
    raise NotFoundError(f"there is no checkpoint {address.id!r} in the thread {root.thread_id!r}")


def _parsed(position: str | None) -> tuple[str, str, Sort]:
    """Where a walk goes on: the position of a thread, of a namespace in it, and the order there or nothing."""
    if position is None:
        return "", "", ""
    match position.split("\n"):
        case [thread, namespace, sort] if not sort or is_sort(sort):
            return thread, namespace, sort
    raise _damaged()


def _below(base: Key, at: Key) -> str:
    return KeysBelow(base).written(at)


def _read(base: Key, at: str) -> Key:
    """The key at a position of ours, which is never one of a digest."""
    read = KeysBelow(base).read(at)
    if not read.startswith(f"{base}!"):
        raise _damaged()
    return read


def _damaged() -> InvalidCursorError:
    return InvalidCursorError("the cursor is damaged: pass page.cursor on unchanged")
