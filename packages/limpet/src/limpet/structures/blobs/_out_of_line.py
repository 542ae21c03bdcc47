"""Values above 1 MiB, on every driver: stored in chunks, with a pointer in their place."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import pairwise

from pydantic_core import from_json, to_json

from ..._errors import ConfigurationError, ConflictError, CorruptDataError, LimpetError, UnsupportedError
from ...driver import (
    Append,
    Capabilities,
    Driver,
    Item,
    Key,
    Outcome,
    Page,
    Put,
    Range,
    Unit,
    Value,
    entry_key,
    new_etag,
)
from ...driver.kit import size_of, validate_unit
from ...wrappers import Wrapper
from .._afterwards import afterwards
from ._chunks import Chunks

__all__ = ["MAX_VALUE_BYTES", "OutOfLine"]

_POINTER = "#limpet-out-of-line "
_LONG = 1024 * 1024
MAX_VALUE_BYTES = 128 * 1024 * 1024
_LEAST = 256 * 1024
"""The library's own data must fit: the head of a log with 10,000 tombstones has 130 KB."""
_PAGE_BYTES = 8 * 1024 * 1024
_PICTURE = re.compile(rb"[A-Za-z0-9+/=_-]{65536,}")
"""A long run without quotes or backslashes, such as a picture in JSON.

Cut out, it is the same content in every message.
"""


class OutOfLine(Wrapper):
    """Stores a value of more than 1 MiB, or more than the driver takes, in chunks, and a pointer to them under its key.

    Smaller values pass through unchanged, without another call. The chunks are stored before the batch with the
    pointer. Chunks of values that were deleted, replaced, refused or never written are garbage, which is collected a
    day or two later.
    """

    def __init__(self, inner: Driver, max_value_bytes: int | None = None) -> None:
        """`max_value_bytes` is the longest value that can be written.

        `None`: 128 MiB, or more if the driver accepts more. Raises `ConfigurationError` for less than 256 KiB.
        """
        if max_value_bytes is not None and (
            isinstance(max_value_bytes, bool) or not isinstance(max_value_bytes, int) or max_value_bytes < _LEAST
        ):
            raise ConfigurationError(f"max_value_bytes is {max_value_bytes!r}: use whole bytes, {_LEAST:,} or more")
        self._asked = max_value_bytes
        super().__init__(inner)

    def _declared(self, inner: Capabilities) -> Capabilities:
        alone = inner.atomic == "item"  # chunks need batches: values are limited to what the driver accepts
        most = inner.max_value_bytes if alone else max(MAX_VALUE_BYTES, inner.max_value_bytes)
        self._largest = most
        most = min(most, self._asked or most)
        self._limit = min(most, inner.max_value_bytes if alone else _LONG, inner.max_value_bytes)
        self._surely_short = self._limit // 4
        if alone:
            return replace(inner, max_value_bytes=most)
        return replace(inner, max_value_bytes=most, max_batch_bytes=max(most, inner.max_batch_bytes))

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        for unit in units:  # like _has_long, without a call for each unit
            for write in unit.puts if isinstance(unit, Append) else unit:
                if isinstance(write, Put) and self._is_long(write.value):
                    return await self._commit_long(units)
        outcomes = await self.inner.commit(units)
        for at, outcome in enumerate(outcomes):
            if isinstance(outcome, ConflictError):
                outcomes[at] = self._reported(outcome)
        return outcomes

    async def _commit_long(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes: list[Outcome] = [None] * len(units)
        pointed: dict[int, Unit] = {}
        owners_of: dict[int, dict[str, int]] = {}
        for at, unit in enumerate(units):
            try:
                if not self._has_long(unit):
                    pointed[at] = unit
                    continue
                self._validate(unit)
                if isinstance(unit, Append):
                    owners = owners_of.setdefault(at, {})
                    puts = [await self._pointer(put, owners, n) for n, put in enumerate(unit.puts)]
                    pointed[at] = Append(unit.log, tuple(puts), unit.check)
                else:
                    pointed[at] = [
                        await self._pointer(write, None, 0) if isinstance(write, Put) else write for write in unit
                    ]
            except LimpetError as error:
                outcomes[at] = error
        for at, outcome in zip(pointed, await self.inner.commit(list(pointed.values())), strict=True):
            unit = units[at]
            outcomes[at] = self._reported(outcome) if isinstance(outcome, ConflictError) else outcome
            if isinstance(outcome, int) and isinstance(unit, Append) and at in owners_of:
                await afterwards(self._announce_positions(owners_of[at], unit.puts, outcome))
        return outcomes

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        items = await self.inner.get(keys, values=values)
        for item in items:
            if item is not None and _points(item.value):
                return [await self._whole(item) for item in items]
        return items

    async def scan(self, range: Range) -> Page:
        page = await self.inner.scan(range)
        if not any(_points(item.value) for item in page.items):
            return page
        items: list[Item] = []
        left = _PAGE_BYTES
        for item in page.items:
            if left <= 0:  # otherwise the page would be larger than readers expect
                return Page(items, items[-1].key)
            whole = await self._whole(item)
            if whole is None:
                continue
            items.append(whole)
            left -= len(whole.value or "") if whole is not item else 0
        return Page(items, page.next)

    @property
    def below_out_of_line(self) -> Driver:
        """Return the driver that shows pointers unchanged."""
        return self.inner

    def _has_long(self, unit: Unit) -> bool:
        """Return whether any of its values goes into chunks."""
        for write in unit.puts if isinstance(unit, Append) else unit:
            if isinstance(write, Put) and self._is_long(write.value):
                return True
        return False

    def _validate(self, unit: Unit) -> None:
        """Validate everything before any chunk is written."""
        validate_unit(unit, self.capabilities)
        if self.capabilities.atomic == "item":
            raise UnsupportedError(
                f"a value that begins with {_POINTER!r} needs batches: this backend can only write single items atomically "
                "(capabilities.atomic is 'item'); see the driver's page for how to set it up for batches"
            )

    def _is_long(self, value: Value) -> bool:
        if not isinstance(value, (str, bytes)) or (len(value) <= self._surely_short and not _points(value)):
            return False
        # A value that only looks like a pointer is stored the same way, so that it comes back unchanged.
        return _points(value) or size_of(value) > self._limit

    async def _pointer(self, put: Put, owners: dict[str, int] | None, at: int) -> Put:
        """Return the put itself, or one of a pointer whose content is stored. `owners` collects those of an append."""
        if not self._is_long(put.value):
            return put
        owner = new_etag()
        chunks = Chunks(self.inner)
        await chunks.announce(owner, {"owner": owner, "at" if owners is None else "below": put.key})
        data = put.value.encode() if isinstance(put.value, str) else put.value
        content = await chunks.write(owner, _pieces(data, chunks.size))
        if owners is not None:
            owners[owner] = at
        pointer = {"owner": owner, "size": content.size, "text": isinstance(put.value, str)}
        return replace(put, value=_POINTER + to_json(pointer).decode())

    async def _announce_positions(self, owners: dict[str, int], puts: Sequence[Put], first: int) -> None:
        """Record where the entries of an append are."""
        for owner, n in owners.items():
            at = entry_key(puts[n].key, first + n)
            await Chunks(self.inner).announce(owner, {"owner": owner, "at": at})

    async def _whole(self, item: Item | None) -> Item | None:
        """Return an item with the value that its pointer refers to; `None` if the item was replaced meanwhile."""
        if item is None or not _points(item.value):
            return item
        owner, size, is_text = _read(item)
        try:
            if not 0 <= size <= self._largest:
                raise CorruptDataError(
                    f"the value at {item.key!r} claims to have {size} bytes, but no value has more than {self._largest:,}",
                    key=item.key,
                )
            data = bytearray()
            async for chunk in Chunks(self.inner).read(owner):
                data += chunk
                if len(data) > size:
                    break
            if len(data) != size:
                raise CorruptDataError(
                    f"the value at {item.key!r} has {len(data)} bytes where it claims to have {size}", key=item.key
                )
            return replace(item, value=data.decode() if is_text else bytes(data))
        except CorruptDataError as error:
            error.key = item.key
            (again,) = await self.inner.get([item.key])
            if again is not None and again.etag == item.etag:
                raise
            return await self._whole(again)

    def _reported(self, conflict: ConflictError) -> ConflictError:
        """Return the conflict without pointers. A long value is named but not included, like everything large."""
        items = {at: item for at, item in conflict.items.items() if item is None or not _points(item.value)}
        return conflict if len(items) == len(conflict.items) else ConflictError(keys=conflict.keys, items=items)


def _points(value: Value | None) -> bool:
    return isinstance(value, str) and value.startswith(_POINTER)


def _read(item: Item) -> tuple[str, int, bool]:
    try:
        match from_json(str(item.value).removeprefix(_POINTER)):
            case {"owner": str(owner), "size": int(size), "text": bool(is_text)}:
                return owner, size, is_text
    except ValueError as error:
        raise CorruptDataError(f"the pointer at {item.key!r} cannot be read: {error}", key=item.key) from error
    raise CorruptDataError(f"the pointer at {item.key!r} does not point to a value", key=item.key)


async def _pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """Yield even pieces, but start and end one at each long run, so that the run is cut the same way wherever it is."""
    bounds = [0, *(bound for found in _PICTURE.finditer(data) for bound in found.span()), len(data)]
    for start, end in pairwise(bounds):
        for at in range(start, end, size):
            yield data[at : min(at + size, end)]
