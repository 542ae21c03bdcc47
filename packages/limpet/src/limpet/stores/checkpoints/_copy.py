"""Copying all checkpoints of a thread to another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ..._errors import ConflictError, NotFoundError
from ...driver import Driver, Item, Key, Put, key, split
from ...driver.kit import scan_all, size_of
from ._documents import AT_ONCE, BATCH_BYTES
from ._keys import DOCUMENTS, INDEX, NAMESPACES, PARTS, RUNS
from ._threads import ThreadRoot, root_of, thread_key

__all__ = ["copy_thread", "snapshot"]


async def copy_thread(driver: Driver, source: str, target: str) -> int:
    """What `CheckpointStore.copy` does."""
    thread = thread_key(target)
    while True:
        origin, item = await driver.get([thread_key(source), thread])
        there = root_of(target, item)
        if there.is_there:
            raise ConflictError(
                f"the thread {target!r} already has checkpoints", items={} if item is None else {thread: item}
            )
        theirs = root_of(source, origin)
        if not theirs.is_there:
            if there.state == "copying":
                await driver.commit([there.deleted()])
            raise NotFoundError(f"there are no checkpoints of the thread {source!r}")
        root = root_of(target, item, anew=True)
        root.state = "copying"
        try:
            copied = await _copy(driver, theirs, root)
        except ConflictError as conflict:
            raise ConflictError(f"someone else wrote to the thread {target!r}", items=conflict.items) from None
        if copied is not None:
            return copied


async def _copy(driver: Driver, theirs: ThreadRoot, root: ThreadRoot) -> int | None:
    """Copy what is below one root to another; `None` where something was removed meanwhile."""
    await _rewrite(driver, root, [])
    copied, size = 0, 0
    batch: list[Put] = []
    async for item in snapshot(driver, theirs.base):
        value = "" if item.value is None else item.value
        if batch and (len(batch) == AT_ONCE or size + size_of(value) > BATCH_BYTES):
            await _rewrite(driver, root, batch)
            batch, size = [], 0
        batch.append(Put(key(root.base, *split(item.key)[2:]), value))
        size += size_of(value)
        copied += 1
    (now,) = await driver.get([theirs.thread])
    if theirs.item is None or now is None or now.etag != theirs.item.etag:
        return None
    root.state = "kept"
    await _rewrite(driver, root, batch)
    return copied


async def _rewrite(driver: Driver, root: ThreadRoot, puts: Sequence[Put]) -> None:
    guard = root.rewritten()
    await driver.apply([*guard, *puts])
    root.written(guard)


async def snapshot(driver: Driver, base: Key) -> AsyncIterator[Item]:
    """All of a thread. What documents need is read after them: somebody may put more meanwhile."""
    for kind in (DOCUMENTS, INDEX, RUNS, NAMESPACES, PARTS):
        async for item in scan_all(driver, key(base, kind)):
            yield item
