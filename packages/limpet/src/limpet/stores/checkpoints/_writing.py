"""Putting checkpoints and their pending writes: parts first where there are many, and one batch that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from ..._errors import ConflictError, CorruptDataError, InvalidValueError
from ..._json import load_plain
from ...driver import Cond, Driver, If, Item, Key, Put, Value, Write, key, text
from ...driver.kit import size_of
from ...structures import Plan, ReadSet, transact
from .._formats import CHECKPOINT_NAMESPACE, PENDING_WRITE
from ._documents import AT_ONCE, BATCH_BYTES, dump, load_namespace
from ._keys import Address, Sort, is_sort, part_key, position, run_key
from ._parts import Node, digest_of, take_apart
from ._threads import Ref, ThreadMovedError, ThreadRoot

__all__ = ["NewParts", "dump_write", "first_of_run", "nodes_of_channels", "position_in", "put_document", "put_pending"]

_RUNS_REMEMBERED = 1024
_FOR_THE_REST = 8
"""Writes in the last batch beside parts and pending writes."""


class NewParts:
    """Finds the parts that are stored already, and numbers those that are not."""

    def __init__(self, root: ThreadRoot) -> None:
        self._root = root
        self.used: dict[bytes, Ref] = {}
        """By digest, everything that was asked for."""
        self.puts: list[Put] = []

    def add(self, stream: str, value: Value) -> Ref:
        """Where a part is stored, or will be."""
        digest = digest_of(value)
        ref = self.used.get(digest) or self._root.known.get(digest)
        if ref is None:
            ref = self._root.next_ref(stream)
            self.puts.append(Put(part_key(self._root.base, *ref), value))
        self.used[digest] = ref
        return ref

    async def store_first(self, driver: Driver, beside: int = 0) -> Sequence[Put]:
        """Store what one batch does not hold, and return the puts for the last one, of so many other writes."""
        most = driver.capabilities.max_writes - _FOR_THE_REST
        *before, last = list(_batches(self.puts, min(AT_ONCE, most))) or [[]]
        if len(last) > most - beside:
            before, last = [*before, last], []
        for some in before:
            guard = self._root.guard()
            try:
                await driver.apply([*guard, *some])
            except ConflictError:
                raise ThreadMovedError from None
            self._root.written(guard)
        return last


async def put_document(
    driver: Driver, root: ThreadRoot, address: Address, document: Mapping[str, Any], parts: NewParts
) -> ThreadRoot:
    """Store a checkpoint; return the root as it is then. Raises `ThreadMovedError` where the thread is another by now."""
    last = await parts.store_first(driver)
    removing = root.removing() if root.item is not None and not root.fresh else None
    guard = root.guard()
    firsts: dict[tuple[str, str], Sort] = {}

    def plan(reads: ReadSet) -> Plan[tuple[bool, dict[Key, Item | None]]]:
        found: dict[Key, Item | None] = {}
        sort, writes = _located(reads, root, address, found, shown=True)
        at = address.document(sort)
        there = reads.get(at)
        writes += _run_indexed(reads, root, address, document.get("run"), sort, firsts)
        writes += [*last, Put(at, dump({"id": address.id, **document}), _as_read(there))]
        if there is None:
            return Plan([*guard, *writes], (False, found))
        if removing is None:
            raise ThreadMovedError
        return Plan([removing, *writes], (True, found))

    replaced, found = await transact(driver, _keys(address), plan, assume=_assumed(root, address))
    if replaced:
        assert removing is not None
        root = root.after(removing, parts.used)
        root.learned = True
    else:
        root.written(guard)
        root.know(parts.used)
    root.remember(found)
    if len(root.runs) >= _RUNS_REMEMBERED:
        root.runs.clear()
    root.runs.update(firsts)
    versions = document.get("versions", {})
    for name, node in document.get("channels", {}).items():
        if name in versions:
            root.channels[address.namespace, name] = (versions[name], node)
    return root


async def put_pending(
    driver: Driver,
    root: ThreadRoot,
    address: Address,
    writes: Mapping[tuple[str, int], str],
    parts: NewParts,
    replaces: Callable[[int], bool],
) -> None:
    """Store pending writes, by task and number. Raises `ThreadMovedError` where the thread is another by now."""
    last = await parts.store_first(driver, len(writes))
    guard = root.guard()

    def plan(reads: ReadSet) -> Plan[dict[Key, Item | None] | None]:
        found: dict[Key, Item | None] = {}
        sort, located = _located(reads, root, address, found, shown=False)
        puts: list[Write] = []
        for (task_id, at), value in writes.items():
            own = address.write(sort, task_id, at)
            if replaces(at):
                puts.append(Put(own, value))
            elif reads.get(own) is None:
                puts.append(Put(own, value, If.ABSENT))
        return Plan([*guard, *located, *puts, *last], found) if puts else Plan([], None)

    found = await transact(driver, _keys(address), plan, assume=_assumed(root, address))
    if found is not None:
        root.written(guard)
        root.know(parts.used)
        root.remember(found)


def _keys(address: Address) -> Sequence[Key]:
    return [address.namespace_key] if address.sort is not None else [address.namespace_key, address.index_key]


def _assumed(root: ThreadRoot, address: Address) -> dict[Key, Item | None]:
    if root.item is None or root.fresh:  # there is nothing yet
        return dict.fromkeys(_keys(address))
    if address.namespace_key not in root.items:
        return {}
    known = {address.namespace_key: root.items[address.namespace_key]}
    if address.sort is None:  # most ids are new
        known[address.index_key] = root.items.get(address.index_key)
    return known


def _located(
    reads: ReadSet, root: ThreadRoot, address: Address, found: dict[Key, Item | None], *, shown: bool
) -> tuple[Sort, list[Write]]:
    """Where a checkpoint is in the order, and the writes that make it so; what is there then goes into `found`."""
    if root.thread in reads:  # read because it was another
        raise ThreadMovedError
    at = address.namespace_key
    there = found[at] = reads[at]
    registered: dict[str, Any] = (
        {"namespace": address.namespace, "next": 0, "shown": False} if there is None else load_namespace(there)
    )
    changed = {**registered, "shown": bool(registered.get("shown")) or shown}
    sort = address.sort
    writes: list[Write] = []
    if sort is None:
        index = found[address.index_key] = reads[address.index_key]
        if index is not None:
            sort = position_in(index)
        else:
            sort = position(registered["next"])
            changed["next"] = registered["next"] + 1
            writes.append(Put(address.index_key, str(registered["next"]), If.ABSENT))
    if (there is None and shown) or (there is not None and changed != registered) or writes:
        writes.append(Put(at, dump(changed, CHECKPOINT_NAMESPACE), _as_read(there)))
    found.update({each.key: Item(each.key, each.value, each.etag, 0) for each in writes if isinstance(each, Put)})
    return sort, writes


def _run_indexed(
    reads: ReadSet, root: ThreadRoot, address: Address, run: str | None, sort: Sort, firsts: dict[tuple[str, str], Sort]
) -> Sequence[Put]:
    """The writes by which a run is found, unless it is known to be: from its first checkpoint in this namespace on."""
    if run is None:
        return []
    known = root.runs.get((run, address.namespace))
    if known is not None and known <= sort:
        return []
    at = run_key(root.base, run)
    there = reads.get(key(at, text(address.namespace)))
    first = sort if there is None else min(sort, first_of_run(there)[1])
    firsts[run, address.namespace] = first
    if there is not None and first == first_of_run(there)[1]:
        return []
    return [
        Put(at, ""),
        Put(key(at, text(address.namespace)), to_json([address.namespace, first]).decode(), _as_read(there)),
    ]


def first_of_run(item: Item) -> tuple[str, Sort]:
    """The namespace of a run, and its first checkpoint there. Raises `CorruptDataError`."""
    match load_plain(item.value, f"the item at {item.key!r}"):
        case [str(namespace), str(sort)] if is_sort(sort):
            return namespace, sort
    raise CorruptDataError(f"the item at {item.key!r} is not the first checkpoint of a run", key=item.key)


def position_in(index: Item) -> Sort:
    written = index.value
    if not isinstance(written, str) or not written.isdecimal() or len(written) > 16:
        raise CorruptDataError(f"the item at {index.key!r} is not the position of a checkpoint", key=index.key)
    return position(int(written))


def _as_read(item: Item | None) -> Cond:
    return If.ABSENT if item is None else item.etag


def _batches(puts: Sequence[Put], count: int) -> Iterator[Sequence[Put]]:
    """The puts in batches that every driver takes."""
    start, size = 0, 0
    for at, put in enumerate(puts):
        if at > start and (at - start == count or size + size_of(put.value) > BATCH_BYTES):
            yield puts[start:at]
            start, size = at, 0
        size += size_of(put.value)
    if start < len(puts):
        yield puts[start:]


def nodes_of_channels(
    root: ThreadRoot,
    namespace: str,
    channels: Mapping[str, Any],
    versions: Mapping[str, str | int | float],
    encode: Callable[[Any], Any] | None,
    parts: NewParts,
) -> dict[str, Node]:
    """The nodes of channels: known ones where their version is, else of what `encode` makes of them."""
    nodes: dict[str, Node] = {}
    for name, value in channels.items():
        if not isinstance(name, str):
            raise InvalidValueError(f"{name!r} is not the name of a channel: use a string")
        known = root.channels.get((namespace, name))
        if known is not None and name in versions and known[0] == versions[name]:
            nodes[name] = known[1]
        else:
            plain = value if encode is None else encode(value)
            nodes[name] = take_apart(plain, parts, name, f"the channel {name!r}")
    return nodes


def dump_write(task_id: str, task_path: str, channel: str, value: Any, parts: NewParts, replaced: bool) -> str:
    """A pending write as it is stored."""
    node = take_apart(value, parts, channel, "the write")
    write: dict[str, Any] = {"task": task_id, "channel": channel, "node": node}
    if task_path:
        write["path"] = task_path
    if replaced:
        write["replaced"] = True
    return dump(write, PENDING_WRITE)
