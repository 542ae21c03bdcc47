"""What every list method returns: a page when awaited, every record when iterated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from copy import copy
from typing import Any, ClassVar, Generic, TypeAlias, TypeGuard, TypeVar, overload

from .._errors import CorruptDataError, InvalidValueError
from ._cursors import Cursors, Positions

__all__ = ["Fetch", "Listing", "Page"]

T = TypeVar("T")

Fetch: TypeAlias = Callable[[str | None, int], Awaitable[tuple[Sequence[T | CorruptDataError], str | None]]]
"""Takes the position to continue from and a maximum; returns records, and where to continue (`None`: the end).

It may return fewer records than asked for, or none. A record that cannot be read is replaced by the error.
"""

_STEP = 200
"""Records fetched at a time while iterating or collecting everything."""


class Page(Sequence[T]):
    """Records in order, and the cursor of the next page."""

    __slots__ = ("_records", "cursor")

    def __init__(self, records: Sequence[T], cursor: str | None) -> None:
        self._records = tuple(records)
        self.cursor: str | None = cursor
        """Pass this as `cursor=` to the same method; `None` if nothing follows."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Page):
            return self._records == other._records and self.cursor == other.cursor
        return list(self._records) == other if isinstance(other, list) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Page({list(self._records)!r}, cursor={self.cursor!r})"


class Listing(Generic[T]):
    """What a list method returns, without any I/O.

    `await listing` returns a `Page` with up to `limit` records, or with all of them if there is no limit. `async for
    record in listing` yields the records one by one in constant memory, at most `limit` if there is one. It reads 200
    at a time, or fewer if messages are long. Records that are added, moved or deleted meanwhile may or may not be seen;
    a record that stays is seen exactly once.
    """

    def __init__(
        self,
        query: Sequence[str],
        fetch: Fetch[T],
        *,
        limit: int | None,
        cursor: str | None,
        positions: Positions | None = None,
        backwards: bool = False,
        offset: int = 0,
    ) -> None:
        """`query` identifies the query (method, arguments): a cursor is only valid for the query that it came from.

        `positions` says which positions a cursor may contain; by default any, for a `fetch` that checks them itself.
        `offset` records are skipped, by reading them. With `backwards`, which requires `limit`, `fetch` goes from the
        last record to the first, and the page is reversed.
        """
        if limit is not None and limit < 1:
            raise InvalidValueError(f"limit is {limit}: it must be at least 1; leave it out to get all records")
        if offset < 0 or (offset and cursor is not None):
            raise InvalidValueError("offset= is 0 or more, counts from the start, and cannot be combined with cursor=")
        self._fetch = fetch if not offset else self._behind(fetch, offset)
        self._cursors = Cursors(query, positions or Positions())
        self._limit = limit
        self._backwards = backwards
        self._start = None if cursor is None else self._cursors.read(cursor)
        self._report: Callable[[CorruptDataError], object] | None = None
        self._keeps_errors = False

    def __repr__(self) -> str:
        return "<Listing: await it for a page, or iterate over it with async for>"

    def skip_unreadable(self, report: Callable[[CorruptDataError], object]) -> Listing[T]:
        """Return the same list without unreadable records. `report` is called with the error for each of these.

        Without this, the first unreadable record raises its `CorruptDataError`.
        """
        skipping = copy(self)
        skipping._report = report
        return skipping

    def with_errors(self) -> Listing[T | CorruptDataError]:
        """Return the same list with an error in place of each unreadable record: for lists that combine lists."""
        keeping: Listing[Any] = copy(self)
        keeping._keeps_errors = True
        return keeping

    def fetched(self, around: Callable[[Fetch[T]], Fetch[T]]) -> Listing[T]:
        """Return the same list, fetched by `around(fetch)`: for a list that is read on another event loop."""
        elsewhere = copy(self)
        elsewhere._fetch = around(self._fetch)
        return elsewhere

    def __await__(self) -> Generator[None, None, Page[T]]:
        return self._page().__await__()

    async def _page(self) -> Page[T]:
        records: list[T] = []
        position = self._start
        while True:
            count = _STEP if self._limit is None else self._limit - len(records)
            found, position = await self._fetch(position, count)
            records += [record for record in found if self.is_readable(record)]
            if position is None or len(records) == self._limit:
                if self._backwards:
                    records.reverse()
                return Page(records, None if position is None else self._cursors.write(position))

    async def __aiter__(self) -> AsyncIterator[T]:
        async for part in self.parts():
            for record in part:
                if self.is_readable(record):
                    yield record

    async def parts(self) -> AsyncIterator[Sequence[T | CorruptDataError]]:
        """Yield what iterating reads, in parts as they are read.

        `is_readable` says of each record whether it belongs here.
        """
        if self._backwards:
            yield await self._page()
            return
        position = self._start
        left = self._limit
        while left is None or left > 0:
            found, position = await self._fetch(position, _STEP if left is None else min(left, _STEP))
            yield found
            if left is not None:
                left -= (
                    len(found) if self._keeps_errors else sum(not isinstance(each, CorruptDataError) for each in found)
                )
            if position is None:
                return

    def is_readable(self, record: T | CorruptDataError) -> TypeGuard[T]:
        """Return whether this is a record of this list. If it is an error instead, report or raise it."""
        if self._keeps_errors or not isinstance(record, CorruptDataError):
            return True
        if self._report is None:
            raise record
        self._report(record)
        return False

    def _behind(self, fetch: Fetch[T], offset: int) -> Fetch[T]:
        async def skipping(position: str | None, count: int) -> tuple[Sequence[T | CorruptDataError], str | None]:
            left = offset if position is None else 0
            while left:
                skipped, position = await fetch(position, min(left, _STEP))
                left -= len(skipped)
                if position is None:
                    return [], None
            return await fetch(position, count)

        return skipping
