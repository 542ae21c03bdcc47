"""A wrapper that transforms values. A subclass implements only how to seal a value and how to open it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from .._errors import ConflictError, CorruptDataError, LimpetError, WrongKeyError
from ..driver import Append, Capabilities, Check, Delete, Item, Key, Outcome, Page, Put, Range, Unit, Write
from ..driver.kit import size_of, to_page, validate_base, validate_get, validate_range, validate_unit
from ._wrapper import Wrapper

__all__ = ["ValueWrapper"]

_CARRIED = 1024 * 1024
"""Maximum bytes of values that a conflict includes."""


class ValueWrapper(Wrapper):
    """Seals what is put and opens what is read, also in conflicts. Etags, conditions and expiry are not changed.

    Limits are checked before sealing, so the declared limits apply to what callers pass. If the opened values of a page
    are larger than a page can be, it is cut and continues with its `next`.
    """

    added: ClassVar[int]
    """Maximum bytes that sealing adds to a put, key and value together."""

    @abstractmethod
    def seal(self, put: Put) -> Put:
        """Return what to store for a put of a batch. Its key must be `stored_key(put.key)`."""

    def seal_entry(self, put: Put) -> Put:
        """Return what to store for a put of an append. The backend adds a number to its key."""
        return self.seal(put)

    @abstractmethod
    def unseal(self, item: Item) -> Item:
        """Return what was put. `item.value` is never `None`. Raises `CorruptDataError`, which names the key."""

    def stored_key(self, key: Key) -> Key:
        """Return the backend's key for a caller's `key`. The stored key of a stored key must be itself."""
        return key

    def _declared(self, inner: Capabilities) -> Capabilities:
        return replace(
            inner,
            max_value_bytes=inner.max_value_bytes - self.added,
            max_batch_bytes=inner.max_batch_bytes - self.added * inner.max_writes,
        )

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        validate_get(keys, self.capabilities)
        return [self._opened(item) for item in await self.inner.get(list(map(self.stored_key, keys)), values=values)]

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes: list[Outcome] = [None] * len(units)
        sealed: dict[int, Unit] = {}
        for at, unit in enumerate(units):
            try:
                sealed[at] = self._sealed(unit)
            except LimpetError as error:
                outcomes[at] = error
        for at, outcome in zip(sealed, await self.inner.commit(list(sealed.values())), strict=True):
            outcomes[at] = self._reported(outcome, units[at]) if isinstance(outcome, ConflictError) else outcome
        return outcomes

    async def scan(self, range: Range) -> Page:
        validate_range(range)
        page = await self.inner.scan(
            replace(
                range,
                base=self._bound(range.base),
                after=None if range.after is None else self._bound(range.after),
                before=None if range.before is None else self._bound(range.before),
            )
        )
        opened = to_page(filter(None, map(self._opened, page.items)), range.limit)
        return opened if opened.next is not None else Page(opened.items, page.next)

    async def clear(self, base: Key) -> int:
        validate_base(base)
        return await self.inner.clear(self._bound(base))

    def _bound(self, key: Key) -> Key:
        return self.stored_key(key) if key else key

    def _sealed(self, unit: Unit) -> Unit:
        validate_unit(unit, self.capabilities)
        if isinstance(unit, Append):
            check = Check(self.stored_key(unit.check.key), unit.check.cond)
            return Append(self.stored_key(unit.log), tuple(map(self.seal_entry, unit.puts)), check)
        return [self._sealed_write(write) for write in unit]

    def _sealed_write(self, write: Write) -> Write:
        if isinstance(write, Put):
            return self.seal(write)
        stored = self.stored_key(write.key)
        if stored == write.key:
            return write
        return Delete(stored, write.cond) if isinstance(write, Delete) else Check(stored, write.cond)

    def _opened(self, item: Item | None) -> Item | None:
        return item if item is None or item.value is None else self.unseal(item)

    def _reported(self, conflict: ConflictError, unit: Unit) -> ConflictError:
        """Return the conflict with the caller's keys and values.

        Unreadable and very large values are named, not included.
        """
        keys = [unit.check.key, unit.log] if isinstance(unit, Append) else [write.key for write in unit]
        known = {self.stored_key(key): key for key in keys}
        items: dict[Key, Item | None] = {}
        room = _CARRIED
        for key, item in conflict.items.items():
            try:
                opened = self._opened(item)
            except (CorruptDataError, WrongKeyError):  # the next reader gets the error
                continue
            if opened is not None and opened.key != known[key]:
                opened = replace(opened, key=known[key])
            room -= 0 if opened is None or opened.value is None else size_of(opened.value)
            if room >= 0:
                items[known[key]] = opened
        return ConflictError(keys=tuple(known[key] for key in conflict.keys), items=items)
