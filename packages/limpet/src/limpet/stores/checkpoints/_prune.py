"""Removing checkpoints of a thread, and freeing parts that no checkpoint uses any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from ..._errors import ConfigurationError, ConflictError, CorruptDataError
from ...driver import Check, Delete, Driver, Item, Key, Value, key, split
from ...driver.kit import backend_now_ms, scan_all
from ...records import CheckpointRecord
from ...structures import get_each, log_skipped, scan_all_each
from .._durations import duration_to_ms
from ._documents import AT_ONCE, Step, load, load_namespace, load_write, nodes_of, read_parts, record_of, refs_of
from ._keys import DOCUMENTS, INDEX, NAMESPACES, PARTS, Sort, part_key, sort_in
from ._parts import needed
from ._threads import Ref, ThreadRoot, root_of, thread_key
from ._writing import position_in

__all__ = ["Removal", "Stored", "prune_thread", "root_there"]

_GRACE_MS = 60 * 60 * 1000
"""A part that nothing needs is freed when it is older than this: it may have been stored for a checkpoint to come."""

_AT_A_TIME = 50
"""Checkpoints that are read at once for `keep`."""


@dataclass(slots=True)
class Stored:
    """What lies at a place in the order, without values."""

    sort: Sort
    doc: Item | None = None
    writes: list[Item] = field(default_factory=list)
    index: Key | None = None
    indexed_at: int = 0
    """When the id got its position, if it has one."""


async def prune_thread(
    driver: Driver,
    thread_id: str,
    max_count: int | None,
    max_age: float | timedelta | None,
    keep: Callable[[CheckpointRecord], bool] | None = None,
    *,
    thorough: bool = True,
) -> int:
    """What `CheckpointStore.prune` does. Unless `thorough`, parts are looked for only where a checkpoint was removed."""
    if max_count is None and max_age is None:
        raise ConfigurationError("prune() would keep everything: pass max_count=, max_age=, or both")
    if max_count is not None and max_count < 1:
        raise ConfigurationError(f"max_count is {max_count}: the latest is always kept; delete() deletes all")
    limit_ms = None if max_age is None else duration_to_ms(max_age, "max_age")
    root = await root_there(driver, thread_id)
    if root is None:
        return 0
    now = await backend_now_ms(driver)
    limit = None if limit_ms is None else now - limit_ms
    pruning = Removal(driver, root)
    removed = 0
    names = {} if keep is None else await _names(driver, root.base)
    async for segment, stored in _namespaces(driver, root.base):
        docs = [each for each in stored if each.doc is not None]
        stale = [
            each
            for at, each in enumerate(docs[:-1])
            if (max_count is not None and at < len(docs) - max_count)
            or (limit is not None and each.doc is not None and each.doc.updated_at < limit)
        ]
        if keep is not None and segment in names:
            stale = await _unwanted(driver, root, names[segment], stale, keep)
        removed += await pruning.remove(stale)
        await pruning.remove([each for each in stored if each.doc is None and _is_old(each, now - _GRACE_MS)])
    if removed or thorough:
        await pruning.free(now - _GRACE_MS)
    return removed


async def _names(driver: Driver, base: Key) -> dict[str, str]:
    """The namespaces by their segments in keys."""
    items = [item async for item in scan_all(driver, key(base, NAMESPACES))]
    return {split(item.key)[3]: str(load_namespace(item)["namespace"]) for item in items}


async def _unwanted(
    driver: Driver, root: ThreadRoot, namespace: str, stale: Sequence[Stored], keep: Callable[[CheckpointRecord], bool]
) -> list[Stored]:
    """Those that the caller does not want to keep, and those that cannot be read."""
    unwanted: list[Stored] = []
    for at in range(0, len(stale), _AT_A_TIME):
        some = stale[at : at + _AT_A_TIME]
        keys = [item.key for each in some for item in (each.doc, *each.writes) if item is not None]
        found: dict[Key, Item] = {}
        for start in range(0, len(keys), AT_ONCE):
            items = await get_each(driver, keys[start : start + AT_ONCE])
            found |= {item.key: item for item in items if item is not None}
        steps = {
            each.sort: Step(each.sort, found[each.doc.key], [found[w.key] for w in each.writes if w.key in found])
            for each in some
            if each.doc is not None and each.doc.key in found
        }
        _, parts = await read_parts(driver, root, refs_of(steps.values()))
        for each in some:
            if each.sort in steps and not _is_kept(root, namespace, steps[each.sort], parts, keep):
                unwanted.append(each)
    return unwanted


def _is_kept(
    root: ThreadRoot,
    namespace: str,
    step: Step,
    parts: Mapping[Ref, Value],
    keep: Callable[[CheckpointRecord], bool],
) -> bool:
    try:
        record = record_of(root.thread_id, namespace, step, parts)
    except CorruptDataError as error:
        log_skipped(error)
        return False
    return keep(record)


class Removal:
    """Removes what lies below one root, which changes with each batch that does: see `ThreadRoot`."""

    def __init__(self, driver: Driver, root: ThreadRoot) -> None:
        self._driver = driver
        self._root: ThreadRoot | None = root
        self._base = root.base

    async def remove(self, stored: Sequence[Stored]) -> int:
        """Remove checkpoints with their pending writes, unless they were put again meanwhile; return how many."""
        removed = 0
        most = min(AT_ONCE, self._driver.capabilities.max_writes - 2)
        for some in _grouped(stored, most):
            removed += await self._remove(some, most)
        return removed

    async def _remove(self, stored: list[Stored], most: int) -> int:
        while stored and self._root is not None:
            removing = self._root.removing()
            deletes: dict[Key, Delete] = {}
            for each in stored:
                if each.doc is not None:
                    deletes[each.doc.key] = Delete(each.doc.key, each.doc.etag)
                for at in ([] if each.index is None else [each.index]) + [item.key for item in each.writes]:
                    deletes[at] = Delete(at)
            try:
                await self._driver.apply([removing, *list(deletes.values())[:most]])
            except ConflictError as conflict:
                if self._root.thread in conflict.keys:
                    await self._again()
                stored = [each for each in stored if each.doc is None or each.doc.key not in conflict.keys]
            else:
                self._root = self._root.after(removing)
                return sum(each.doc is not None for each in stored)
        return 0

    async def free(self, limit: int) -> None:
        """Remove the parts of no checkpoint that are older than `limit`.

        That is announced by one more change of the root, and only done while that stays: so nobody counts on what was
        known before, and nothing that is read now is removed meanwhile.
        """
        while self._root is not None:
            removing = self._root.removing()
            try:
                await self._driver.apply([removing])
            except ConflictError:
                await self._again()
                continue
            self._root = self._root.after(removing)
            break
        if self._root is None or self._root.item is None:
            return
        unchanged = Check(self._root.thread, self._root.item.etag)
        used: set[Key] = set()
        async for item in scan_all_each(self._driver, key(self._base, DOCUMENTS)):
            try:
                found = load(item) if sort_in(item.key)[1] else load_write(item)
                nodes = nodes_of(found) if sort_in(item.key)[1] else iter([found["node"]])
                used.update(part_key(self._base, *ref) for node in nodes for ref in needed(node))
            except CorruptDataError as error:  # nobody knows which parts it needs: all of them stay
                log_skipped(error)
                return
            except (KeyError, TypeError, AttributeError):
                log_skipped(CorruptDataError(f"the item at {item.key!r} is no checkpoint"))
                return
        stale: list[Delete] = []
        async for item in scan_all(self._driver, key(self._base, PARTS), values=False):
            if item.key not in used and item.updated_at < limit:
                stale.append(Delete(item.key))
            if len(stale) == AT_ONCE and not await self._freed(unchanged, stale):
                return
        if stale:
            await self._freed(unchanged, stale)

    async def _freed(self, unchanged: Check, stale: list[Delete]) -> bool:
        """Whether nobody has removed anything else meanwhile, who then frees these too."""
        try:
            await self._driver.apply([unchanged, *stale])
        except ConflictError:
            return False
        stale.clear()
        return True

    async def _again(self) -> None:
        """The root as it is now; none where the thread was deleted."""
        assert self._root is not None
        (item,) = await self._driver.get([self._root.thread])
        self._root = root_of(self._root.thread_id, item) if self._root.is_named_by(item) else None


async def root_there(driver: Driver, thread_id: str) -> ThreadRoot | None:
    (item,) = await driver.get([thread_key(thread_id)])
    root = root_of(thread_id, item)
    return root if root.is_there else None


async def _namespaces(driver: Driver, base: Key) -> AsyncIterator[tuple[str, Sequence[Stored]]]:
    """What is stored in each namespace, in order, without values but for the positions of ids."""
    indexes: dict[tuple[str, Sort], Item] = {}
    async for item in scan_all_each(driver, key(base, INDEX)):
        try:
            indexes[split(item.key)[3], position_in(item)] = item
        except CorruptDataError as error:
            log_skipped(error)
    now: tuple[str, list[Stored]] | None = None
    async for item in scan_all_each(driver, key(base, DOCUMENTS), values=False):
        namespace = split(item.key)[3]
        sort, is_document = sort_in(item.key)
        if now is None or now[0] != namespace:
            if now is not None:
                yield now
            now = (namespace, [])
        if not now[1] or now[1][-1].sort != sort:
            now[1].append(_with_index(sort, indexes.pop((namespace, sort), None)))
        if is_document:
            now[1][-1].doc = item
        else:
            now[1][-1].writes.append(item)
    if now is not None:
        yield now
    yield "", [_with_index(sort, index) for (_, sort), index in indexes.items()]


def _with_index(sort: Sort, index: Item | None) -> Stored:
    return Stored(sort) if index is None else Stored(sort, index=index.key, indexed_at=index.updated_at)


def _is_old(stored: Stored, limit: int) -> bool:
    """Whether what has no checkpoint has waited long enough for it."""
    return stored.indexed_at < limit and all(item.updated_at < limit for item in stored.writes)


def _grouped(stored: Iterable[Stored], most: int) -> Iterator[list[Stored]]:
    """So many that one batch removes them; of what has more items the rest waits for the next pruning."""
    group: list[Stored] = []
    size = 0
    for each in stored:
        items = 2 + len(each.writes)
        if group and size + items > most:
            yield group
            group, size = [], 0
        group.append(each)
        size += items
    if group:
        yield group
