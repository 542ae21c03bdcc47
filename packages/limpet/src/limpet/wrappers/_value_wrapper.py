"""A wrapper that stores other values than it is given: how to seal one and open it is all that a subclass writes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from .._errors import ConflictError, CorruptDataError, LimpetError, WrongKeyError
from ..driver import (
    Append,
    Batch,
    Capabilities,
    Check,
    Delete,
    Item,
    Key,
    Page,
    Put,
    Verdict,
    Work,
    Write,
    collect,
    size_of,
)
from ..driver._gate import check_get, check_scan, check_unit
from ._wrapper import Wrapper

__all__ = ["ValueWrapper"]

_CARRIED = 1024 * 1024
"""Bytes of values that a conflict carries at most."""


class ValueWrapper(Wrapper):
    """Seals what is put and opens what is read, also in conflicts; etags, conditions and expiry pass untouched.

    Limits are judged before sealing, so that what is declared holds for what callers pass. A page whose opened
    values grow beyond what a page may hold is cut, and continues with its `next`.
    """

    added: ClassVar[int]
    """Bytes that sealing adds to a put at most, key and value together."""

    @abstractmethod
    def seal(self, put: Put) -> Put:
        """What to store for a put of a batch; its key has to be `stored_key(put.key)`."""

    def seal_entry(self, put: Put) -> Put:
        """What to store for a put of an append: the backend adds a number to its key."""
        return self.seal(put)

    @abstractmethod
    def unseal(self, item: Item) -> Item:
        """What was put; `item.value` is never `None`. Raises `CorruptDataError`, which names the key."""

    def stored_key(self, key: Key) -> Key:
        """Where the backend holds what callers know as `key`. The stored key of a stored key has to be itself."""
        return key

    def _declared(self, inner: Capabilities) -> Capabilities:
        return replace(
            inner,
            max_value_bytes=inner.max_value_bytes - self.added,
            max_batch_bytes=inner.max_batch_bytes - self.added * inner.max_writes,
        )

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        check_get(keys, self.capabilities)
        return [self._opened(item) for item in await self.inner.get(list(map(self.stored_key, keys)), values=values)]

    async def apply(self, batch: Batch) -> None:
        sealed = self._sealed(batch)
        try:
            await self.inner.apply(sealed)
        except ConflictError as conflict:
            raise self._reported(conflict, [write.key for write in batch]) from None

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        unit = Append(log, tuple(puts), check)
        sealed = self._sealed_append(unit)
        try:
            return await self.inner.append(sealed.log, sealed.puts, sealed.check)
        except ConflictError as conflict:
            raise self._reported(conflict, [check.key, log]) from None

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        verdicts: list[Verdict] = [None] * len(work)
        sealed: dict[int, Work] = {}
        for place, unit in enumerate(work):
            try:
                sealed[place] = self._sealed_append(unit) if isinstance(unit, Append) else self._sealed(unit)
            except LimpetError as error:
                verdicts[place] = error
        answers = await self.inner.apply_many(list(sealed.values()))
        for place, answer in zip(sealed, answers, strict=True):
            if isinstance(answer, ConflictError):
                unit = work[place]
                named = [unit.check.key, unit.log] if isinstance(unit, Append) else [write.key for write in unit]
                answer = self._reported(answer, named)
            verdicts[place] = answer
        return verdicts

    async def scan(
        self,
        base: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        reverse: bool = False,
        limit: int = 100,
        values: bool = True,
    ) -> Page:
        check_scan(base, after, before, limit)
        page = await self.inner.scan(
            self._bound(base),
            after=None if after is None else self._bound(after),
            before=None if before is None else self._bound(before),
            reverse=reverse,
            limit=limit,
            values=values,
        )
        opened = collect(filter(None, map(self._opened, page.items)), limit)
        return opened if opened.next is not None else Page(opened.items, page.next)

    async def clear(self, base: Key) -> int:
        check_scan(base, None, None, 1)
        return await self.inner.clear(self._bound(base))

    def _bound(self, key: Key) -> Key:
        return self.stored_key(key) if key else key

    def _sealed(self, batch: Batch) -> Batch:
        check_unit(batch, self.capabilities)
        return [self._sealed_write(write) for write in batch]

    def _sealed_append(self, unit: Append) -> Append:
        check_unit(unit, self.capabilities)
        check = Check(self.stored_key(unit.check.key), unit.check.cond)
        return Append(self.stored_key(unit.log), tuple(map(self.seal_entry, unit.puts)), check)

    def _sealed_write(self, write: Write) -> Write:
        if isinstance(write, Put):
            return self.seal(write)
        stored = self.stored_key(write.key)
        if stored == write.key:
            return write
        return Delete(stored, write.cond) if isinstance(write, Delete) else Check(stored, write.cond)

    def _opened(self, item: Item | None) -> Item | None:
        return item if item is None or item.value is None else self.unseal(item)

    def _reported(self, conflict: ConflictError, keys: Sequence[Key]) -> ConflictError:
        """The conflict in the caller's keys and values; what cannot be read, or is too much, is named but not carried."""
        known = {self.stored_key(key): key for key in keys}
        items: dict[Key, Item | None] = {}
        room = _CARRIED
        for key, item in conflict.items.items():
            try:
                opened = self._opened(item)
            except (CorruptDataError, WrongKeyError):  # whoever reads it next is told
                continue
            if opened is not None and opened.key != known[key]:
                opened = replace(opened, key=known[key])
            room -= 0 if opened is None or opened.value is None else size_of(opened.value)
            if room >= 0:
                items[known[key]] = opened
        return ConflictError(keys=tuple(known[key] for key in conflict.keys), items=items)
