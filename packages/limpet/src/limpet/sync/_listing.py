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

    def __init__(self, portal: Portal, inner: AsyncListing[T]) -> None:
        self._portal = portal
        self._inner = inner

    def __repr__(self) -> str:
        return "<Listing: iterate over it, or call page() for a page>"

    def __iter__(self) -> Iterator[T]:
        for part in self._portal.iterate(self._inner.parts()):
            for record in part:
                if self._inner.is_readable(record):
                    yield record

    def page(self) -> Page[T]:
        """Read one page. `page.cursor` is for the same method's `cursor=`; `None` where nothing follows."""
        return self._portal.call(_page, self._inner)

    def skip_unreadable(self, report: Callable[[CorruptDataError], object]) -> Listing[T]:
        """The same list without the records that cannot be read: `report` is called with the error for each of them.

        Without it the first of them raises its `CorruptDataError`.
        """
        return Listing(self._portal, self._inner.skip_unreadable(report))

    def with_errors(self) -> Listing[T | CorruptDataError]:
        """The same list with an error in the place of each record that cannot be read: for lists made of lists."""
        return Listing(self._portal, self._inner.with_errors())


async def _page(listing: AsyncListing[T]) -> Page[T]:
    return await listing
