"""Retention of checkpoints: pruning every thread, and deleting the threads that nobody uses any more."""

from __future__ import annotations

from datetime import timedelta
from heapq import heappop, heappush

from ..._errors import ConflictError, CorruptDataError
from ...driver import Driver, Item, key
from ...structures import log_skipped, scan_all_each
from ._delete import thread_roots
from ._keys import DOCUMENTS
from ._prune import prune_thread, root_there
from ._threads import ThreadRoot

__all__ = ["prune_all", "prune_threads"]


async def prune_all(driver: Driver, max_count: int | None, max_age: timedelta | None) -> int:
    """Prune the checkpoints of each thread; return how many were removed. One that is damaged is logged."""
    removed = 0
    async for roots in thread_roots(driver):
        for root in roots:
            try:
                removed += await prune_thread(driver, root.thread_id, max_count, max_age, thorough=False)
            except CorruptDataError as error:
                log_skipped(error)
    return removed


async def prune_threads(driver: Driver, cutoff: int, max_count: int | None) -> int:
    """Delete the threads to which nothing was put since `cutoff`, milliseconds since 1970, and all but the `max_count`
    last ones of the rest; return how many. One that is used meanwhile stays. In memory are no more than `max_count`.
    """
    removed = 0
    newest: list[tuple[int, str]] = []
    async for roots in thread_roots(driver):
        for root in roots:
            moment = await _last_used(driver, root, None if max_count is not None else cutoff)
            if moment < cutoff:
                removed += await _close(driver, root.thread_id, moment)
            elif max_count is not None:
                heappush(newest, (moment, root.thread_id))
                if len(newest) > max_count:
                    oldest, thread_id = heappop(newest)
                    removed += await _close(driver, thread_id, oldest)
    return removed


async def _close(driver: Driver, thread_id: str, moment: int) -> bool:
    """Delete a thread unless it was used after `moment`: who puts something takes the announcement back."""
    root = await root_there(driver, thread_id)
    if root is None:
        return False
    announced = root.closing()
    try:
        await driver.apply([announced])
        root.state, root.item = "closing", Item(root.thread, announced.value, announced.etag, 0)
        if await _last_used(driver, root, None) > moment:
            await driver.apply(root.rewritten())
            return False
        await driver.apply(root.deleted())
    except ConflictError:
        return False
    return True


async def _last_used(driver: Driver, root: ThreadRoot, enough: int | None) -> int:
    """When a checkpoint or a pending write was put last; from `enough` on nobody has to know it exactly."""
    last = 0
    async for item in scan_all_each(driver, key(root.base, DOCUMENTS), values=False):
        last = max(last, item.updated_at)
        if enough is not None and last >= enough:
            break
    return last or (root.item.updated_at if root.item is not None else 0)
