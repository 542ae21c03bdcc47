"""What list methods return here: every record when iterated, a page when asked for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .._errors import CorruptDataError
from .._portal import Portal
from ..structures import Listing as AsyncListing
from ..structures import Page

__all__ = ["Listing"]

T = TypeVar("T")


class Listing(Generic[T]):
    """What a list method returns, without any I/O.

    `for record in listing` gives the records one by one in constant memory, read 200 at a time, and fewer where
    messages are long; at most `limit` where one was given. `listing.page()` gives a `Page`: of `limit` records, or of all of
    them where no limit was given. Records that are added, moved or deleted meanwhile may be seen or not; one that
    stays is seen exactly once.
    """

    def __init__(
        self, portal: Portal, inner: AsyncListing[T], report: Callable[[CorruptDataError], object] | None = None
    ) -> None:
        self._portal = portal
        self._inner = inner
        self._report = report

    def __repr__(self) -> str:
        return "<Listing: iterate over it, or call page() for a page>"

    def __iter__(self) -> Iterator[T]:
        inner, unreadable = self._reported()
        for part in self._portal.iterate(inner.parts()):
            self._tell(unreadable)
            yield from part
        self._tell(unreadable)

    def page(self) -> Page[T]:
        """Read one page. `page.cursor` is for the same method's `cursor=`; `None` where nothing follows."""
        inner, unreadable = self._reported()
        page = self._portal.call(_page, inner)
        self._tell(unreadable)
        return page

    def skip_unreadable(self, report: Callable[[CorruptDataError], object]) -> Listing[T]:
        """The same list without the records that cannot be read: `report` is called with the error for each of them.

        Without it the first of them raises its `CorruptDataError`.
        """
        return Listing(self._portal, self._inner, report)

    def with_errors(self) -> Listing[T | CorruptDataError]:
        """The same list with an error in the place of each record that cannot be read: for lists made of lists."""
        return Listing(self._portal, self._inner.with_errors())

    def _reported(self) -> tuple[AsyncListing[T], list[CorruptDataError]]:
        """The list, and where it puts what it could not read: the caller's function is for the caller's thread."""
        unreadable: list[CorruptDataError] = []
        return self._inner if self._report is None else self._inner.skip_unreadable(unreadable.append), unreadable

    def _tell(self, unreadable: list[CorruptDataError]) -> None:
        while unreadable and self._report is not None:
            self._report(unreadable.pop(0))


async def _page(listing: AsyncListing[T]) -> Page[T]:
    return await listing
