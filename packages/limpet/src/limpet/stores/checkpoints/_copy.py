"""Copying all checkpoints of a thread to another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ..._errors import ConflictError, NotFoundError
from ...driver import Driver, Item, Key, Put, key, split
from ...driver.kit import scan_all, size_of
from ._documents import AT_ONCE, BATCH_BYTES, DOCUMENTS, HEADS, ORDER, PARTS, WRITES, load, load_head
from ._threads import ThreadRoot, root_of, thread_key

__all__ = ["copy_thread", "snapshot"]


async def copy_thread(driver: Driver, source: str, target: str) -> int:
    """What `CheckpointStore.copy` does."""
    thread = thread_key(target)
    while True:
        origin, item = await driver.get([thread_key(source), thread])
        if item is not None and not root_of(thread, item).copying:
            raise ConflictError(f"the thread {target!r} already has checkpoints", items={thread: item})
        if origin is None or (theirs := root_of(origin.key, origin)).copying:
            if item is not None:
                await driver.commit([root_of(thread, item).removed()])
            raise NotFoundError(f"there are no checkpoints of the thread {source!r}")
        root = root_of(thread, item, anew=True)
        root.copying = True
        try:
            copied = await _copy(driver, theirs, root)
        except ConflictError as conflict:
            raise ConflictError(f"someone else wrote to the thread {target!r}", items=conflict.items) from None
        if copied is not None:
            return copied


async def _copy(driver: Driver, theirs: ThreadRoot, root: ThreadRoot) -> int | None:
    """Copy what is below one root to another; `None` where it was deleted or pruned meanwhile."""
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
    root.copying = False
    await _rewrite(driver, root, batch)
    return copied


async def _rewrite(driver: Driver, root: ThreadRoot, puts: Sequence[Put]) -> None:
    guard = root.rewritten()
    await driver.apply([*guard, *puts])
    root.written(guard)


async def snapshot(driver: Driver, base: Key) -> AsyncIterator[Item]:
    """All of a thread as it was when its heads were read: what was put since is left out."""
    following: dict[str, int] = {}
    async for item in scan_all(driver, key(base, HEADS)):
        following[split(item.key)[3]] = int(load_head(item)["next"])
        yield item
    for kind in (ORDER, DOCUMENTS, WRITES, PARTS):
        async for item in scan_all(driver, key(base, kind)):
            segments = split(item.key)
            if kind == ORDER and int(segments[4]) >= following.get(segments[3], 0):
                continue
            if kind == DOCUMENTS and int(load(item)["position"]) >= following.get(segments[3], 0):
                continue
            yield item
