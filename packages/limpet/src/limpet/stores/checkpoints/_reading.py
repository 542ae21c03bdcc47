"""Reading checkpoints below the root of their thread, which may be deleted or change while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..._errors import CorruptDataError
from ...driver import Driver, Item, Key
from ...records import CheckpointRecord
from ._documents import Step, learn, read_parts, record_of, refs_of, steps_before
from ._keys import Address, Sort, up_to
from ._threads import ThreadCache, ThreadMovedError, ThreadRoot, root_of, thread_key
from ._writing import position_in

__all__ = ["Found", "Reader"]

_FOR_ONE = 10
"""Items that are read for one checkpoint: the document and its pending writes are seldom more."""


@dataclass(frozen=True, slots=True)
class Found:
    """Checkpoints of a namespace, the last one first, with an error in the place of each that cannot be read."""

    records: Sequence[CheckpointRecord | CorruptDataError]
    steps: Sequence[Step]
    more: bool


class Reader:
    """Reads on what the cache says, and looks at the thread's item afterwards, together with the parts."""

    def __init__(self, driver: Driver, cache: ThreadCache) -> None:
        self.driver = driver
        self.cache = cache

    async def root(self, thread_id: str) -> ThreadRoot:
        """What is remembered of a thread, or what is stored: maybe that it is not there."""
        if (root := self.cache.get(thread_id)) is not None:
            return root
        (item,) = await self.driver.get([thread_key(thread_id)])
        root = root_of(thread_id, item)
        if root.is_there:
            self.cache.keep(root)
        return root

    async def there(self, thread_id: str) -> ThreadRoot | None:
        """The place of a thread that has one, which may be gone since."""
        root = await self.root(thread_id)
        return root if root.is_there else None

    async def sort_of(self, root: ThreadRoot, address: Address) -> Sort | None:
        """Where an id is in the order, as far as it was put or written to. May be of yesterday, as the root may be."""
        if address.sort is not None:
            return address.sort
        index = root.items.get(address.index_key)
        if index is None:
            (index,) = await self.driver.get([address.index_key])
            if index is not None:
                root.remember({address.index_key: index})
        return None if index is None else position_in(index)

    async def one(self, thread_id: str, namespace: str, id: str | None) -> CheckpointRecord | None:
        """A checkpoint by id, or the latest; or `None`."""
        while (root := await self.there(thread_id)) is not None:
            address = Address(root.base, namespace, id or "")
            before: Key | None = None
            sort: Sort | None = None
            try:
                if id is not None:
                    sort = await self.sort_of(root, address)
                    if sort is None:
                        await self.confirm(root)
                        return None
                    before = up_to(address.documents, sort)
                found = await self.page(root, namespace, before, 1, _FOR_ONE, exactly=id is not None)
            except ThreadMovedError:
                continue
            if not found.steps or (id is not None and found.steps[0].sort != sort):
                return None
            (record,) = found.records
            if isinstance(record, CorruptDataError):
                raise record
            return record if id is None or record.id == id else None
        return None

    async def confirm(self, root: ThreadRoot) -> None:
        """Raise `ThreadMovedError` if the thread has another place by now, or lost something."""
        (item,) = await self.driver.get([root.thread], values=True)
        self._moved(root, item, exactly=True)

    async def page(
        self, root: ThreadRoot, namespace: str, before: Key | None, count: int, at_once: int, *, exactly: bool = False
    ) -> Found:
        """The last `count` checkpoints before a key. Two driver calls, and one more for each 500 parts.

        Raises `ThreadMovedError` if the thread has another place by now; with `exactly` also if it lost something.
        """
        documents = Address(root.base, namespace, "").documents
        steps, more = await steps_before(self.driver, documents, before, count, at_once)
        thread, parts = await read_parts(self.driver, root, refs_of(steps))
        same = self._moved(root, thread, exactly=exactly)
        records: list[CheckpointRecord | CorruptDataError] = []
        whole: list[Step] = []
        for step in steps:
            try:
                records.append(record_of(root.thread_id, namespace, step, parts))
                whole.append(step)
            except CorruptDataError as error:
                if not same:  # it may have been removed in between
                    raise ThreadMovedError from None
                records.append(error)
        if same:
            learn(root, whole, namespace, parts)
            self.cache.keep(root)
        return Found(records, steps, more)

    def _moved(self, root: ThreadRoot, item: Item | None, *, exactly: bool) -> bool:
        """Whether nothing was removed since the root was read; see `page`."""
        assert root.item is not None
        if item is not None and item.etag == root.item.etag:
            return True
        self.cache.forget(root)
        if not root.is_named_by(item):
            raise ThreadMovedError
        self.cache.keep(root_of(root.thread_id, item))
        if exactly:
            raise ThreadMovedError
        return False
