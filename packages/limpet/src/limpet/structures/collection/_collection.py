"""Documents with secondary indexes that are never stale, on any driver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..._errors import ConflictError, CorruptDataError, FormatError, InvalidValueError, NotFoundError
from ..._json import Unreadable
from ...driver import (
    KEEP,
    Check,
    Cond,
    Delete,
    Driver,
    Etag,
    If,
    Item,
    Keep,
    Key,
    Put,
    Range,
    Write,
    key,
    name,
    split,
    text,
    text_of,
)
from .._codec import Codec
from .._cursors import KeysBelow
from .._keyed_locks import changing
from .._listing import Listing
from .._once import Receipt, Repeated
from .._reading import get_each, scan_all_each, scan_each
from .._transact import Plan, ReadSet, transact
from ._indexes import Index, IndexSet

__all__ = ["Collection", "RepairReport"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What `Collection.repair` found."""

    documents: int
    added: int
    """Index entries that were missing."""
    removed: int
    """Index entries that pointed at nothing, or at a document that has changed since."""
    unreadable: tuple[str, ...]
    """The ids of documents that cannot be read. They were left unchanged."""


class Collection(Generic[T]):
    """Documents of one type, each with an id, stored together with their index entries in one atomic batch.

    With `created_at` (milliseconds since 1970), lists are newest first, and by id within a millisecond; without it,
    they are in the order of the ids. A document's key is `<collection>!@<id>`.
    """

    def __init__(
        self,
        driver: Driver,
        collection: str,
        codec: Codec[T],
        *,
        id_of: Callable[[T], str],
        indexes: Sequence[Index[T]] = (),
        created_at: Callable[[T], int] | None = None,
    ) -> None:
        self._driver = driver
        self.base: Key = name(collection)
        """The documents are below this key."""
        self._codec = codec
        self.id_of = id_of
        self._newest_first = created_at is not None
        self._entries = IndexSet(collection, indexes, id_of, created_at)
        self._indexed = bool(indexes) or self._newest_first

    def key(self, id: str) -> Key:
        """Return the key of the document with this id."""
        return key(self.base, text(id))

    # One document.

    async def get(self, id: str) -> T | None:
        """Return the document or `None`. One driver call."""
        return (await self.get_many([id]))[0]

    async def get_many(self, ids: Sequence[str]) -> list[T | None]:
        """A document or `None` for each id, in order."""
        items = await self._read([self.key(id) for id in ids])
        return [self.decode(item, id) for id, item in zip(ids, items, strict=True)]

    async def get_with_etag(self, id: str) -> tuple[T, Etag] | None:
        """Return the document with its etag, for `save(..., if_match=etag)`."""
        (item,) = await self._driver.get([self.key(id)])
        document = self.decode(item, id)
        return None if item is None or document is None else (document, item.etag)

    async def exists(self, id: str) -> bool:
        """Return whether there is such a document, without reading its value."""
        (item,) = await self._driver.get([self.key(id)], values=False)
        return item is not None

    async def save(
        self, document: T, *, if_match: Etag | None = None, if_absent: bool = False, ttl_ms: int | None = None
    ) -> Etag:
        """Store a whole document under its id, and return its new etag. One driver call if it is new, otherwise two.

        Raises `ConflictError` if `if_match` or `if_absent` does not hold.
        """
        at = self.key(self.id_of(document))

        def plan(reads: ReadSet) -> Plan[Etag]:
            writes = self.plan_save(reads, document, if_match=if_match, if_absent=if_absent, ttl_ms=ttl_ms)
            return Plan(writes, next(write.etag for write in writes if isinstance(write, Put) and write.key == at))

        return await transact(self._driver, [at], plan, assume=None if if_match else {at: None})

    async def update(self, id: str, change: Callable[[T], T], *, once: str | None = None) -> T:
        """Replace a document with `change(document)`, starting over if someone else writes first. Return the new one.

        `change` is synchronous and may run more than once. The expiry is kept. Raises `NotFoundError` if there is no
        such document. `once` makes it safe to retry after `OutcomeUnknownError`: with the same token, nothing is
        changed a second time. Raises `ConflictError` if the token came with another function; the same token for
        another id is another call.
        """
        at = self.key(id)

        def plan(reads: ReadSet) -> Plan[T]:
            document = self.decode(reads[at], id)
            if document is None:
                raise NotFoundError(f"there is no {self.base} document {id!r}: save it first")
            changed = change(document)
            if isinstance(changed, Awaitable):
                raise InvalidValueError(
                    "change must be a synchronous function, because it may run again after a conflict"
                )
            if self.id_of(changed) != id:
                raise InvalidValueError(f"the id {id!r} became {self.id_of(changed)!r}: save it as a new document")
            return Plan(self.plan_save(reads, changed, ttl_ms=KEEP), changed)

        receipt = Receipt.of(once, "update", at, change)
        async with changing(self._driver, at):
            try:
                return await transact(self._driver, [at], plan, once=receipt)
            except Repeated:
                document = await self.get(id)
                if document is None:
                    raise NotFoundError(f"there is no {self.base} document {id!r} any more") from None
                return document

    async def delete(self, id: str) -> bool:
        """Delete a document and its index entries, even if it cannot be read. Return whether there was one."""
        at = self.key(id)
        return await transact(
            self._driver, [at], lambda reads: Plan(self.plan_delete(reads, id), reads[at] is not None)
        )

    # Many documents.

    def all(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[T]:
        """Every document, newest first or in the order of the ids."""
        if self._newest_first:
            return self._found("all", None, limit, cursor)
        return Listing([self.base, "all"], self._in_order, limit=limit, cursor=cursor, positions=KeysBelow(self.base))

    def find(self, index: str, value: str, *, limit: int | None = None, cursor: str | None = None) -> Listing[T]:
        """List the documents that `index` finds by `value`, newest first or in the order of the ids.

        A page is two driver calls.
        """
        return self._found(index, value, limit, cursor)

    async def ids(self, index: str, value: str, *, limit: int | None = None) -> list[str]:
        """List the ids that an index has for a value, whether or not their documents can be read."""
        prefix, found = self._entries.prefix(index, value), list[str]()
        async for entry in scan_all_each(self._driver, prefix):
            if not isinstance(entry.value, Unreadable):
                found.append(str(entry.value))
            if len(found) == limit:
                break
        return found

    async def forget(self, index: str, value: str) -> None:
        """Remove the entries of an index for a value if none of its documents exists any more."""
        await self._driver.clear(self._entries.prefix(index, value))

    async def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Read every document and every entry, add missing entries and remove wrong ones.

        With `dry_run`, they are only counted, and nothing is written. This is needed after something else changed the
        data, and after a migration or a new index changed what documents are found by; otherwise the library's own
        batches keep both consistent. Safe to run concurrently with writers.
        """
        documents = added = removed = 0
        unreadable: list[str] = []
        async for item in scan_all_each(self._driver, self.base):
            documents += 1
            try:
                document = self._codec.decode(item)
            except CorruptDataError:
                unreadable.append(item.key)
                continue
            wanted = sorted(self._entries.entries(document))
            found = await self._read(wanted)
            missing = [entry for entry, there in zip(wanted, found, strict=True) if there is None]
            mended = [Check(item.key, item.etag), *self._puts(missing, document, item)] if missing else []
            if missing and (dry_run or await self._try(mended)):
                added += len(missing)
        if self._indexed:
            async for entry in scan_all_each(self._driver, self._entries.base):
                if isinstance(entry.value, Unreadable):
                    unreadable.append(entry.key)
                    continue
                (found_item,) = await get_each(self._driver, [self.key(str(entry.value))])
                if self._matches(entry, found_item):
                    continue
                if dry_run or await self._try([Delete(entry.key, entry.etag)]):
                    removed += 1
        return RepairReport(documents, added, removed, tuple(unreadable))

    # Plans, for stores that write more in the same batch.

    def plan_save(
        self,
        reads: ReadSet,
        document: T,
        *,
        if_match: Etag | None = None,
        if_absent: bool = False,
        ttl_ms: int | Keep | None = None,
    ) -> list[Write]:
        """Return the writes that replace what is known at its key with `document`, under conditions that ensure it."""
        id = self.id_of(document)
        at = self.key(id)
        item = reads[at]
        if (if_absent and item is not None) or (if_match is not None and (item is None or item.etag != if_match)):
            raise ConflictError(f"the document {id!r} is not in the expected state", items={at: item})
        cond: Cond = If.ABSENT if item is None else item.etag
        old = self._old_entries(item)
        expires = ttl_ms is not KEEP and (ttl_ms is not None or (item is not None and item.ttl_ms is not None))
        afresh = expires or (item is not None and not self._codec.is_current(item))
        return [
            Put(at, self._codec.encode(document), cond, ttl_ms),
            *self._entries.writes(old, document, ttl_ms, afresh=afresh),
        ]

    def plan_delete(self, reads: ReadSet, id: str) -> list[Write]:
        """Return the writes that delete the document with this id and its entries; none if there is no document."""
        at = self.key(id)
        item = reads[at]
        if item is None:
            return []
        return [Delete(at, item.etag), *self._entries.writes(self._old_entries(item), None, None, afresh=False)]

    def decode(self, item: Item | None, id: str) -> T | None:
        """Return the document in an item. Raises `CorruptDataError` for another document whose digest collides."""
        if item is None:
            return None
        document = self._codec.decode(item)
        if self.id_of(document) != id:
            raise CorruptDataError(
                f"the item at {item.key!r} contains the document {self.id_of(document)!r}, not {id!r}"
            )
        return document

    def decode_or_none(self, item: Item | None) -> T | None:
        """Return the document in an item, or `None` if it cannot be read: for a save that replaces it as a whole."""
        try:
            return None if item is None else self._codec.decode(item)
        except FormatError:
            raise  # a newer program wrote it, and can read it
        except CorruptDataError:
            return None

    async def id_at(self, item: Item) -> str | None:
        """Return the id of a document listed without its value; `None` if it is gone and its key is a digest."""
        shown = text_of(split(item.key)[-1])
        if shown is not None:
            return shown
        (whole,) = await self._driver.get([item.key])
        return None if whole is None else self.id_of(self._codec.decode(whole))

    # Implementation.

    def _found(self, index: str, value: str | None, limit: int | None, cursor: str | None) -> Listing[T]:
        prefix = self._entries.prefix(index, value)

        async def fetch(position: str | None, count: int) -> tuple[list[T | CorruptDataError], str | None]:
            count = min(count, self._driver.capabilities.max_keys)
            if self._newest_first:
                page = await self._driver.scan(Range(prefix, before=position, reverse=True, limit=count))
            else:
                page = await self._driver.scan(Range(prefix, after=position, limit=count))
            items = await get_each(self._driver, [self.key(str(entry.value)) for entry in page.items])
            found: list[T | CorruptDataError] = []
            for entry, item in zip(page.items, items, strict=True):
                document = None if item is None else self._readable(item)
                if isinstance(document, CorruptDataError) or (
                    document is not None and entry.key in self._entries.entries(document)
                ):
                    found.append(document)
            return found, page.next

        return Listing([self.base, index, value or ""], fetch, limit=limit, cursor=cursor, positions=KeysBelow(prefix))

    async def _in_order(self, position: str | None, count: int) -> tuple[list[T | CorruptDataError], str | None]:
        page = await scan_each(self._driver, Range(self.base, after=position, limit=count))
        return [self._readable(item) for item in page.items], page.next

    def _readable(self, item: Item) -> T | CorruptDataError:
        """Return the document in an item, or why it cannot be read."""
        try:
            return self._codec.decode(item)
        except CorruptDataError as error:
            error.key = item.key
            return error

    def _matches(self, entry: Item, item: Item | None) -> bool:
        """Return whether an entry is right. If the document cannot be read, every entry counts as right."""
        document = None if item is None else self._readable(item)
        if document is None or isinstance(document, CorruptDataError):
            return document is not None
        return entry.key in self._entries.entries(document)

    def _old_entries(self, item: Item | None) -> set[Key]:
        # Saving over an unreadable document repairs it. The entries that it leaves behind are hidden; repair removes
        # them.
        document = self.decode_or_none(item) if self._indexed else None
        return set() if document is None else self._entries.entries(document)

    def _puts(self, entries: Sequence[Key], document: T, item: Item) -> list[Write]:
        return [Put(entry, self.id_of(document), None, item.ttl_ms) for entry in entries]

    async def _try(self, writes: Sequence[Write]) -> bool:
        try:
            await self._driver.apply(writes)
        except ConflictError:
            return False  # someone is writing this document now, and updates its entries
        return True

    async def _read(self, keys: Sequence[Key]) -> list[Item | None]:
        limit = self._driver.capabilities.max_keys
        found: list[Item | None] = []
        for start in range(0, len(keys), limit):
            found += await self._driver.get(keys[start : start + limit])
        return found
