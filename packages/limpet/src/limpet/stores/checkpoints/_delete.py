"""Deleting checkpoints by their ids, and by the runs that they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from ..._errors import CorruptDataError
from ...driver import Driver, Item, Key, Range, key, number, split
from ...driver.kit import scan_all, scan_pages
from ...structures import log_skipped, scan_all_each
from ._documents import AT_ONCE, load
from ._keys import Address, Sort, run_key, sort_in
from ._prune import Removal, Stored, root_there
from ._threads import THREADS, ThreadRoot, root_at
from ._writing import first_of_run, position_in

__all__ = ["delete_checkpoints", "delete_runs", "thread_roots"]

_SCANS_AT_ONCE = 20


async def delete_checkpoints(driver: Driver, thread_id: str, namespace: str, ids: Iterable[str]) -> bool:
    """What `CheckpointStore.delete` does with ids."""
    root = await root_there(driver, thread_id)
    if root is None:
        return False
    found: list[Stored] = []
    addresses = [Address(root.base, namespace, id) for id in dict.fromkeys(ids)]
    for at in range(0, len(addresses), AT_ONCE):
        some = addresses[at : at + AT_ONCE]
        unordered = [each for each in some if each.sort is None]
        indexes = await driver.get([each.index_key for each in unordered]) if unordered else []
        sorts: list[tuple[Address, Sort]] = [(each, each.sort) for each in some if each.sort is not None]
        sorts += [
            (each, position_in(index)) for each, index in zip(unordered, indexes, strict=True) if index is not None
        ]
        if not sorts:
            continue
        docs = await driver.get([each.document(sort) for each, sort in sorts], values=False)
        for start in range(0, len(sorts), _SCANS_AT_ONCE):
            part = sorts[start : start + _SCANS_AT_ONCE]
            writes = await asyncio.gather(*(_below(driver, each.document(sort)) for each, sort in part))
            for (each, sort), doc, own in zip(part, docs[start : start + _SCANS_AT_ONCE], writes, strict=True):
                found.append(Stored(sort, doc, own, each.index_key if each.sort is None else None))
    return await Removal(driver, root).remove([each for each in found if each.doc is not None]) > 0


async def delete_runs(driver: Driver, run_ids: Iterable[str]) -> int:
    """What `CheckpointStore.delete_for_runs` does."""
    runs = list(dict.fromkeys(run_ids))
    removed = 0
    async for roots in thread_roots(driver):
        wanted = [(root, run) for root in roots for run in runs]
        for at in range(0, len(wanted), AT_ONCE):
            some = wanted[at : at + AT_ONCE]
            items = await driver.get([run_key(root.base, run) for root, run in some], values=False)
            having: dict[str, tuple[ThreadRoot, set[str]]] = {}
            for (root, run), item in zip(some, items, strict=True):
                if item is not None:
                    having.setdefault(root.thread_id, (root, set()))[1].add(run)
            for root, own in having.values():
                removed += await _delete_in(driver, root, own)
    return removed


async def thread_roots(driver: Driver) -> AsyncIterator[Sequence[ThreadRoot]]:
    """All threads that are there, page by page; one that cannot be read is logged."""
    async for page in scan_pages(driver.scan, Range(THREADS, limit=500)):
        roots: list[ThreadRoot] = []
        for item in page.items:
            try:
                root = root_at(item)
            except CorruptDataError as error:
                log_skipped(error)
                continue
            if root.is_there:
                roots.append(root)
        yield roots


async def _delete_in(driver: Driver, root: ThreadRoot, runs: set[str]) -> int:
    firsts: dict[str, Sort] = {}
    for run in runs:
        async for item in scan_all(driver, run_key(root.base, run)):
            namespace, first = first_of_run(item)
            firsts[namespace] = min(first, firsts.get(namespace, first))
    removal = Removal(driver, root)
    removed = 0
    for namespace, first in firsts.items():
        documents = Address(root.base, namespace, "").documents
        stale: list[Stored] = []
        now: Stored | None = None
        async for item in _from(driver, documents, first):
            sort, is_document = sort_in(item.key)
            if not is_document:
                if now is not None and now.sort == sort:
                    now.writes.append(item)
                continue
            now = None
            try:
                document = load(item)
            except CorruptDataError as error:
                log_skipped(error)
                continue
            if document.get("run") in runs:
                address = Address(root.base, namespace, str(document.get("id")))
                now = Stored(sort, item, [], address.index_key if address.sort is None else None)
                stale.append(now)
        removed += await removal.remove(stale)
    return removed


async def _from(driver: Driver, documents: Key, first: Sort) -> AsyncIterator[Item]:
    """What lies in a namespace from a place in the order on."""
    *before, last = split(first)
    start = key(documents, *before, number(int(last) - 1)) if int(last) else None
    if start is None and before:
        start = key(documents, *before)
    async for page in scan_pages(driver.scan, Range(documents, after=start, limit=500)):
        for item in page.items:
            if sort_in(item.key)[0] >= first:
                yield item


async def _below(driver: Driver, at: Key) -> list[Item]:
    return [item async for item in scan_all_each(driver, at, values=False)]
