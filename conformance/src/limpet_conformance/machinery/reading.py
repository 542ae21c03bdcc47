"""Read a whole database through its pages, and check the paging."""

from __future__ import annotations

from limpet.driver import Driver, Item, Key, Page, Range

__all__ = ["one", "snapshot", "walk"]


async def one(driver: Driver, key: Key) -> Item | None:
    """Return the item at one key."""
    answer = await driver.get([key])
    assert len(answer) == 1, f"get() of one key answered {len(answer)} items"
    return answer[0]


async def walk(
    driver: Driver,
    base: Key = "",
    *,
    after: Key | None = None,
    before: Key | None = None,
    reverse: bool = False,
    limit: int = 100,
    values: bool = True,
) -> list[Item]:
    """Return every item of a scan, page by page, checking order, bounds and progress."""
    items: list[Item] = []
    empty = 0
    while True:
        page = await driver.scan(Range(base, after=after, before=before, reverse=reverse, limit=limit, values=values))
        check_page(page, base, after, before, reverse, limit, text_order=driver.capabilities.text_order)
        items += page.items
        empty = 0 if page.items else empty + 1
        assert empty < 10_000, "10,000 empty pages one after the other: the scan does not get on"
        if page.next is None:
            return items
        if reverse:
            before = page.next
        else:
            after = page.next


def check_page(
    page: Page, base: Key, after: Key | None, before: Key | None, reverse: bool, limit: int, *, text_order: bool = True
) -> None:
    """Assert what holds for every page."""
    keys = [item.key for item in page.items]
    assert len(keys) <= limit, f"a page of {len(keys)} items where at most {limit} were asked for"
    assert len(set(keys)) == len(keys), f"a key twice on a page: {keys[:10]}"
    for key in keys:
        assert not base or key.startswith(base + "!"), f"{key!r} is not below {base!r}"
    if not text_order and any("@" in key for key in [*keys, after or "", before or "", page.next or ""]):
        return
    ordered = sorted(set(keys), reverse=reverse)
    assert keys == ordered, f"a page out of order: {keys[:10]} (reverse={reverse})"
    for key in keys:
        assert after is None or key > after, f"{key!r} is not after {after!r}"
        assert before is None or key < before, f"{key!r} is not before {before!r}"
    if page.next is None:
        return
    if keys:
        beyond = page.next <= keys[-1] if reverse else page.next >= keys[-1]
        assert beyond, f"next is {page.next!r}, which is not the last key examined: the page ends with {keys[-1]!r}"
    bound = before if reverse else after
    if bound is not None:
        advances = page.next < bound if reverse else page.next > bound
        assert advances, f"next is {page.next!r} and does not get on from {bound!r}"


async def snapshot(driver: Driver) -> dict[Key, Item]:
    """Return everything in a database. Only consistent while nobody writes."""
    return {item.key: item for item in await walk(driver)}
