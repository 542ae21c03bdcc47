"""Wrong about reading."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from limpet.driver import Item, Key, MemoryDriver, Page, Range
from limpet.driver.kit import below, size_of
from limpet_conformance.sections.reading import Reading
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


@caught_by(Reading)
class AfterIsIgnored(SharedMemoryDriver):
    """Every page begins at the beginning."""

    def bounds(self, base: Key, after: Key | None, before: Key | None) -> tuple[Key, Key | None]:
        return super().bounds(base, None, before)


@caught_by(Reading)
class AfterIsIncluded(SharedMemoryDriver):
    """`after` itself comes again."""

    def bounds(self, base: Key, after: Key | None, before: Key | None) -> tuple[Key, Key | None]:
        low, high = super().bounds(base, None, before)
        return (low if after is None else max(low, after)), high


@caught_by(Reading)
class BeforeIsIncluded(SharedMemoryDriver):
    """`before` itself comes too."""

    def bounds(self, base: Key, after: Key | None, before: Key | None) -> tuple[Key, Key | None]:
        low, high = super().bounds(base, after, None)
        return low, (high if before is None else before + "\0" if high is None else min(high, before + "\0"))


@caught_by(Reading)
class BoundsWidenTheBase(SharedMemoryDriver):
    """A bound outside the base replaces the base's own."""

    def bounds(self, base: Key, after: Key | None, before: Key | None) -> tuple[Key, Key | None]:
        low, high = below(base)
        return (low if after is None else after + "\0"), (high if before is None else before)


@caught_by(Reading)
class ReverseForgetsAfter(SharedMemoryDriver):
    """Backwards, only the bound where the page begins counts."""

    async def _list(self, range: Range) -> Page:
        return await super()._list(replace(range, after=None if range.reverse else range.after))


@caught_by(Reading)
class ReverseTurnsOnePageAround(SharedMemoryDriver):
    """Backwards, the first page forwards is turned around."""

    async def _list(self, range: Range) -> Page:
        page = await super()._list(replace(range, reverse=False))
        return Page(page.items[::-1], page.next) if range.reverse else page


@caught_by(Reading)
class AnItemLostBetweenPages(SharedMemoryDriver):
    """`next` is the first key of the page to come, which `after` then leaves out."""

    def page(self, items: Iterator[Item], limit: int) -> Page:
        taken = list(islice(items, limit + 1))
        return Page(taken[:limit], taken[limit].key if len(taken) > limit else None)


@caught_by(Reading)
class AnItemTwiceBetweenPages(SharedMemoryDriver):
    """`next` is the last key but one."""

    def page(self, items: Iterator[Item], limit: int) -> Page:
        taken = list(islice(items, limit + 1))
        more = len(taken) > limit
        return Page(taken[:limit], taken[max(0, limit - 2)].key if more else None)


@caught_by(Reading)
class AFullPageIsTheEnd(SharedMemoryDriver):
    """`next` is given only when a page was cut by its size."""

    def page(self, items: Iterator[Item], limit: int) -> Page:
        return Page(list(islice(items, limit)), None)


@caught_by(Reading)
class AThousandAreAll(SharedMemoryDriver):
    """An internal limit, after which there seems to be nothing."""

    def page(self, items: Iterator[Item], limit: int) -> Page:
        page = super().page(items, limit)
        return Page(page.items, None) if len(page.items) >= 1000 else page


@caught_by(Reading)
class OneMoreThanTheLimit(SharedMemoryDriver):
    """A page holds an item too many."""

    def page(self, items: Iterator[Item], limit: int) -> Page:
        return super().page(items, limit + 1)


@caught_by(Reading)
class PagesWithoutABound(SharedMemoryDriver):
    """However large its items are, a page holds as many as were asked for."""

    def page(self, items: Iterator[Item], limit: int) -> Page:
        taken = list(islice(items, limit + 1))
        return Page(taken[:limit], taken[limit - 1].key if len(taken) > limit else None)


@caught_by(Reading)
class TheItemThatDidNotFit(SharedMemoryDriver):
    """The item that made a page too large is in neither page."""

    def page(self, items: Iterator[Item], limit: int) -> Page:
        taken: list[Item] = []
        size = 0
        for item in items:
            if len(taken) == limit:
                return Page(taken, taken[-1].key)
            size += size_of(item.value or "")
            if size > 1024 * 1024 and taken:
                return Page(taken, item.key)
            taken.append(item)
        return Page(taken, None)


@caught_by(Reading)
class AnswersInKeyOrder(SharedMemoryDriver):
    """`get` answers in the backend's order, each key once."""

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        items = {item.key: item for item in await super()._fetch(sorted(set(keys)), values) if item}
        return [items.get(key) for key in sorted(keys)]


@caught_by(Reading)
class LeavesOutWhatIsMissing(SharedMemoryDriver):
    """`get` answers only what there is."""

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        return [item for item in await super()._fetch(keys, values) if item is not None]


@caught_by(Reading)
class ReadsFromAReplica(SharedMemoryDriver):
    """Reads come from a copy that lags behind by one write of others."""

    copy: dict[Key, Any]

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        fresh = await super()._fetch(keys, values)
        seen = self.__dict__.setdefault("copy", {})
        old = [seen.get(key, item) for key, item in zip(keys, fresh, strict=True)]
        seen.update(zip(keys, fresh, strict=True))
        return old


@caught_by(Reading)
class NoSnapshotOfSeveralKeys(SharedMemoryDriver):
    """`get` reads one key after the other."""

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        items: list[Item | None] = []
        for key in keys:
            items += await super()._fetch([key], values)
        return items


@caught_by(Reading)
class NoSnapshotOfAPage(SharedMemoryDriver):
    """A page lists its keys first and then fetches, and others write in between."""

    async def _list(self, range: Range) -> Page:
        page = await super()._list(replace(range, values=False))
        await asyncio.sleep(0)
        items = await self._fetch([item.key for item in page.items], range.values)
        return Page([item for item in items if item is not None], page.next)


@caught_by(Reading)
class SeeksByReadingAll(MemoryDriver):
    """Declares `seek`, and reads everything that comes before the place where a page begins."""

    @classmethod
    def from_url(cls, url: str) -> SeeksByReadingAll:
        return cls()

    async def _list(self, range: Range) -> Page:
        position: Key | None = None
        while range.after is not None and (position is None or position < range.after):
            page = await super()._list(replace(range, after=position, before=None, reverse=False, limit=50))
            if page.next is None:
                break
            position = page.next
        return await super()._list(range)


@caught_by(Reading)
class TheBaseIsListed(SharedMemoryDriver):
    """A base is below itself."""

    def bounds(self, base: Key, after: Key | None, before: Key | None) -> tuple[Key, Key | None]:
        low, high = super().bounds(base, after, before)
        return (base if after is None else low), high


@caught_by(Reading)
class NoneMeansOne(SharedMemoryDriver):
    """A page of nothing is taken for a page of one."""

    async def scan(self, range: Range) -> Page:
        return await super().scan(replace(range, limit=max(1, range.limit)))
