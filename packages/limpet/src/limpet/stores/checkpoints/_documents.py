"""The stored form of checkpoints, and reading them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from ..._errors import CorruptDataError, InvalidValueError
from ..._json import Unreadable
from ..._secrets import raise_alone
from ...driver import Driver, Item, Key, Range, Value
from ...records import CheckpointRecord, PendingWrite
from ...structures import Migrations, load_object, scan_each, stamp_object
from .._formats import CHECKPOINT, CHECKPOINT_NAMESPACE, PENDING_WRITE
from ._keys import Sort, number_of_write, part_key, sort_in
from ._parts import Node, assemble, digest_of, needed
from ._threads import Ref, ThreadRoot

__all__ = ["AT_ONCE", "BATCH_BYTES", "Step", "dump", "learn", "load", "load_namespace", "load_write", "nodes_of"]
__all__ += ["read_parts", "record_of", "refs_of", "steps_before"]

AT_ONCE = 200
BATCH_BYTES = 1024 * 1024


@dataclass(slots=True)
class Step:
    """A checkpoint as it was read: its document, and the items of its pending writes."""

    sort: Sort
    doc: Item
    writes: list[Item] = field(default_factory=list)


def dump(value: Mapping[str, Any], migrations: Migrations = CHECKPOINT) -> str:
    """A document as it is stored. Raises `InvalidValueError`."""
    try:
        return stamp_object(to_json(value).decode(), migrations.version)
    except ValueError as error:  # a lone surrogate
        raise_alone(InvalidValueError(f"a checkpoint is JSON and bytes: {error}"))


def load(item: Item, migrations: Migrations = CHECKPOINT) -> dict[str, Any]:
    """The document in an item. Raises `CorruptDataError`."""
    return load_object(item.value, migrations, f"the item at {item.key!r}")


def load_namespace(item: Item) -> dict[str, Any]:
    """What registers a namespace. Raises `CorruptDataError`."""
    found = load(item, CHECKPOINT_NAMESPACE)
    if not isinstance(found.get("namespace"), str) or not isinstance(found.get("next"), int):
        raise CorruptDataError(f"the item at {item.key!r} does not name a namespace")
    return found


def load_write(item: Item) -> dict[str, Any]:
    """The pending write in an item. Raises `CorruptDataError`."""
    return load(item, PENDING_WRITE)


async def steps_before(
    driver: Driver, documents: Key, before: Key | None, count: int, at_once: int, *, values: bool = True
) -> tuple[list[Step], bool]:
    """The last `count` checkpoints before a key, the last one first, and whether there may be more.

    An item that cannot be opened has an `Unreadable` value.
    """
    found: list[Step] = []
    writes: list[Item] = []
    rest: Range | None = Range(documents, before=before, reverse=True, limit=min(at_once, 1000), values=values)
    while rest is not None:
        page = await scan_each(driver, rest)
        for item in page.items:
            sort, is_document = sort_in(item.key)
            if not is_document:
                writes.append(item)
                continue
            own = [each for each in reversed(writes) if sort_in(each.key)[0] == sort]
            found.append(Step(sort, item, own))
            writes = []
            if len(found) == count:
                return found, True
        rest = rest.beyond(page)
        if rest is not None:
            rest = replace(rest, limit=min(1000, rest.limit * 4))
    return found, False


def nodes_of(document: Mapping[str, Any]) -> Iterator[Node]:
    """The nodes in a checkpoint's document."""
    yield document["node"]
    yield document["metadata"]
    yield from document.get("channels", {}).values()


def refs_of(steps: Iterable[Step]) -> dict[Ref, None]:
    """The parts that checkpoints and their pending writes need, without those of what is damaged."""
    found: dict[Ref, None] = {}
    for step in steps:
        try:
            for node in nodes_of(load(step.doc)):
                found.update(dict.fromkeys(needed(node)))
            for item in step.writes:
                found.update(dict.fromkeys(needed(load_write(item)["node"])))
        except (CorruptDataError, KeyError, TypeError, AttributeError):
            continue  # whoever reads it says so
    return found


async def read_parts(
    driver: Driver, root: ThreadRoot, refs: Mapping[Ref, None]
) -> tuple[Item | None, dict[Ref, Value]]:
    """The thread's item and parts, in one snapshot where there are a few hundred; what cannot be opened is left out."""
    wanted = list(refs)
    first = min(driver.capabilities.max_keys, 512) - 1
    thread, found = await _read_some(driver, root, wanted[:first])
    more = [wanted[at : at + first] for at in range(first, len(wanted), first)]
    for _, some in await asyncio.gather(*(_read_some(driver, root, each) for each in more)):
        found |= some
    return thread, found


async def _read_some(driver: Driver, root: ThreadRoot, refs: Sequence[Ref]) -> tuple[Item | None, dict[Ref, Value]]:
    base = root.base
    keys = [part_key(base, *ref) for ref in refs]
    try:
        thread, *items = await driver.get([root.thread, *keys])
    except CorruptDataError:
        if not refs:
            raise
        half = len(refs) // 2
        if len(refs) == 1:
            return await _read_some(driver, root, [])
        thread, found = await _read_some(driver, root, refs[:half])
        return thread, found | (await _read_some(driver, root, refs[half:]))[1]
    return thread, {
        ref: item.value for ref, item in zip(refs, items, strict=True) if item is not None and item.value is not None
    }


def record_of(thread_id: str, namespace: str, step: Step, parts: Mapping[Ref, Value]) -> CheckpointRecord:
    """A checkpoint whole, with its pending writes. Raises `CorruptDataError`."""
    try:
        document = load(step.doc)
        channels = document.get("channels", {})
        writes = [_pending(item, parts) for item in step.writes]
        return CheckpointRecord(
            thread_id=thread_id,
            namespace=namespace,
            id=document["id"],
            parent_id=document["parent"],
            checkpoint=assemble(document["node"], parts),
            metadata=assemble(document["metadata"], parts),
            channels={name: assemble(node, parts) for name, node in channels.items()},
            versions=document.get("versions", {}),
            writes=sorted(writes, key=lambda each: (each.task_path, each.task_id, each.index)),
            created_at=step.doc.updated_at,  # type: ignore[arg-type]  # milliseconds
        )
    except CorruptDataError as error:
        error.key = step.doc.key
        raise
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        message = f"the checkpoint at {step.doc.key!r} cannot be read: {type(error).__name__}"
        raise CorruptDataError(message, key=step.doc.key) from error


def learn(root: ThreadRoot, steps: Iterable[Step], namespace: str, parts: Mapping[Ref, Value]) -> None:
    """Remember the parts that documents refer to, which nobody takes away without changing the thread's item.

    A pending write that may be replaced gives its parts up without that.
    """
    lasting: dict[Ref, None] = {}
    channels: dict[tuple[str, str], tuple[Any, Node]] = {}
    for step in steps:
        document = load(step.doc)
        for node in nodes_of(document):
            lasting.update(dict.fromkeys(needed(node)))
        for item in step.writes:
            write = load_write(item)
            if number_of_write(item.key) >= 0 and not write.get("replaced"):
                lasting.update(dict.fromkeys(needed(write["node"])))
        versions = document.get("versions", {})
        for name, node in document.get("channels", {}).items():
            if name in versions:
                channels.setdefault((namespace, name), (versions[name], node))
    root.channels.update(channels)  # those of the latest of them: who goes on from there has the same versions
    root.know({digest_of(parts[ref]): ref for ref in lasting.keys() & parts.keys() if ref not in root.refs})


def _pending(item: Item, parts: Mapping[Ref, Value]) -> PendingWrite:
    if isinstance(item.value, Unreadable):
        raise item.value.error
    written = load_write(item)
    return PendingWrite(
        task_id=written["task"],
        task_path=written.get("path", ""),
        index=number_of_write(item.key),
        channel=written["channel"],
        value=assemble(written["node"], parts),
    )
