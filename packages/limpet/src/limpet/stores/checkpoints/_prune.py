"""Pruning the checkpoints of a thread, and freeing parts that no checkpoint uses any more."""

from __future__ import annotations

from datetime import timedelta

from ..._errors import ConfigurationError, ConflictError, CorruptDataError
from ...driver import Delete, Driver, Item, Key, Range, key, split, text
from ...driver.kit import backend_now_ms, scan_all
from ...structures import Plan, ReadSet, log_skipped, scan_all_each, transact
from .._durations import duration_to_ms
from ._documents import (
    AT_ONCE,
    DOCUMENTS,
    ORDER,
    PARTS,
    WRITES,
    document_key,
    heads,
    load,
    load_head,
    used_keys,
    writes_key,
)
from ._threads import root_of, thread_key

__all__ = ["prune_thread"]

_GRACE_MS = 60 * 60 * 1000
"""A part that nothing needs is freed when it is older than this: it may have been stored for a checkpoint to come."""


async def prune_thread(driver: Driver, thread_id: str, max_count: int | None, max_age: float | timedelta | None) -> int:
    """What `CheckpointStore.prune` does."""
    if max_count is None and max_age is None:
        raise ConfigurationError("prune() would keep everything: pass max_count=, max_age=, or both")
    if max_count is not None and max_count < 1:
        raise ConfigurationError(f"max_count is {max_count}: the latest is always kept; delete() deletes all")
    base = await _announce(driver, thread_id)
    if base is None:
        return 0
    now = await backend_now_ms(driver)
    limit = None if max_age is None else now - duration_to_ms(max_age, "max_age")
    removed = 0
    async for namespace, head in heads(driver, base):
        latest = str(load_head(head)["latest"])
        order = [item async for item in scan_all(driver, key(base, ORDER, text(namespace)))]
        for at, item in enumerate(order):
            (doc,) = await driver.get([document_key(base, namespace, str(item.value))], values=False)
            too_many = max_count is not None and at < len(order) - max_count
            too_old = limit is not None and doc is not None and doc.updated_at < limit
            if item.value != latest and doc is not None and (too_many or too_old):
                removed += await _remove(driver, base, namespace, item, doc)
    await _free(driver, base, now)
    return removed


async def _announce(driver: Driver, thread_id: str) -> Key | None:
    """From here on nobody counts on parts that were stored before; where they lie."""
    thread = thread_key(thread_id)

    def plan(reads: ReadSet) -> Plan[Key | None]:
        if reads[thread] is None or (root := root_of(thread, reads[thread])).copying:
            return Plan([], None)
        root.prunes += 1
        return Plan(root.rewritten(), root.base)

    return await transact(driver, [thread], plan)


async def _remove(driver: Driver, base: Key, namespace: str, order: Item, doc: Item) -> bool:
    """Remove a checkpoint with its pending writes, unless it was put again meanwhile."""
    page = await driver.scan(
        Range(
            writes_key(base, namespace, str(order.value)),
            values=False,
            limit=min(AT_ONCE, driver.capabilities.max_writes - 2),
        )
    )
    pending = [Delete(item.key) for item in page.items]
    try:
        await driver.apply([Delete(doc.key, doc.etag), Delete(order.key), *pending])
    except ConflictError:
        return False
    return True


async def _free(driver: Driver, base: Key, now: int) -> None:
    """Remove the parts and pending writes of no checkpoint, but those that are fresh: one may be about to come."""
    used: set[Key] = set()
    async for doc in scan_all_each(driver, key(base, DOCUMENTS)):
        used.add(key(base, WRITES, *split(doc.key)[3:]))
        try:
            used |= used_keys(base, load(doc))
        except CorruptDataError as error:  # nobody knows which parts it needs: all of them stay
            log_skipped(error)
            return
    for kind in (PARTS, WRITES):
        async for item in scan_all(driver, key(base, kind), values=False):
            of = item.key if kind == PARTS else key(*split(item.key)[:5])
            if of not in used and item.updated_at < now - _GRACE_MS:
                await driver.commit([[Delete(item.key, item.etag)]])
