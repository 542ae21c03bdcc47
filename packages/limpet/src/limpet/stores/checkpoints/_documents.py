"""The stored form of checkpoints, and reading them."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from ..._errors import CorruptDataError
from ...driver import Driver, Item, Key, Value, key, name, text
from ...driver.kit import scan_all
from ...records import CheckpointRecord, PendingWrite, as_record
from ...structures import Migrations, load_object, stamp_object
from .._formats import CHECKPOINT, CHECKPOINT_HEAD, PENDING_WRITE
from ._parts import Node, assemble, needed

__all__ = [
    "AT_ONCE",
    "BATCH_BYTES",
    "DOCUMENTS",
    "HEADS",
    "ORDER",
    "PARTS",
    "WRITES",
    "document_key",
    "dump",
    "dump_write",
    "heads",
    "load",
    "load_head",
    "read_each",
    "read_records",
    "used_keys",
    "writes_key",
]

HEADS, ORDER, DOCUMENTS, WRITES, PARTS = name("h"), name("o"), name("d"), name("w"), name("p")
AT_ONCE = 200
BATCH_BYTES = 1024 * 1024


def document_key(base: Key, namespace: str, id: str) -> Key:
    """Where a checkpoint lies."""
    return key(base, DOCUMENTS, text(namespace), text(id))


def writes_key(base: Key, namespace: str, id: str) -> Key:
    """What the pending writes of a checkpoint lie below."""
    return key(base, WRITES, text(namespace), text(id))


def dump(value: Mapping[str, Any], migrations: Migrations = CHECKPOINT) -> str:
    """A document as it is stored."""
    return stamp_object(to_json(value).decode(), migrations.version)


def load(item: Item | None, migrations: Migrations = CHECKPOINT) -> dict[str, Any]:
    """The document in an item. Raises `CorruptDataError`."""
    assert item is not None
    return load_object(item.value, migrations, f"the item at {item.key!r}")


def load_head(item: Item | None) -> dict[str, Any]:
    """What names the latest checkpoint of a namespace. Raises `CorruptDataError`."""
    return load(item, CHECKPOINT_HEAD)


def dump_write(task_id: str, index: int, channel: str, node: Node, parts: Mapping[str, Value]) -> str:
    """A pending write as it is stored: with the parts that it needs."""
    own = {
        digest: {"v": part} if isinstance(part, str) else {"x": b64encode(part).decode()}
        for digest, part in parts.items()
    }
    written = {"task": task_id, "index": index, "channel": channel, "node": node, "parts": own}
    return dump(written, PENDING_WRITE)


async def heads(driver: Driver, base: Key) -> AsyncIterator[tuple[str, Item]]:
    """Each namespace below `base`, with its head."""
    async for item in scan_all(driver, key(base, HEADS)):
        yield str(load_head(item)["namespace"]), item


def used_keys(base: Key, document: Mapping[str, Any]) -> set[Key]:
    """Where the parts lie that a checkpoint needs."""
    nodes = (document["node"], document["metadata"])
    return {key(base, PARTS, text(digest)) for node in nodes for digest in needed(node)}


async def read_records(
    driver: Driver, thread_id: str, namespace: str, base: Key, docs: Sequence[Item]
) -> Sequence[CheckpointRecord]:
    """Checkpoints whole, with their pending writes. Raises `CorruptDataError` where a part is missing."""
    parsed = [load(doc) for doc in docs]
    digests = {
        digest: key(base, PARTS, text(digest))
        for document in parsed
        for node in (document["node"], document["metadata"])
        for digest in needed(node)
    }
    waiting = asyncio.gather(*(_pending(driver, base, namespace, str(each["id"])) for each in parsed))
    parts, pending = await asyncio.gather(_parts(driver, digests), waiting)
    try:
        return [
            as_record(
                CheckpointRecord,
                {
                    "thread_id": thread_id,
                    "namespace": namespace,
                    "id": document["id"],
                    "parent_id": document["parent"],
                    "checkpoint": assemble(document["node"], parts),
                    "metadata": assemble(document["metadata"], parts),
                    "writes": writes,
                    "created_at": doc.updated_at,
                },
            )
            for doc, document, writes in zip(docs, parsed, pending, strict=True)
        ]
    except CorruptDataError:
        # Somebody may have pruned them, or deleted the thread, since they were read.
        now = await driver.get([doc.key for doc in docs])
        if [doc.etag for doc in docs] == [item and item.etag for item in now]:
            raise
        return await read_records(driver, thread_id, namespace, base, [item for item in now if item is not None])


async def read_each(
    driver: Driver, thread_id: str, namespace: str, base: Key, docs: Sequence[Item]
) -> Sequence[CheckpointRecord | CorruptDataError]:
    """As `read_records`, with an error in the place of each checkpoint that cannot be read."""
    try:
        return await read_records(driver, thread_id, namespace, base, docs)
    except CorruptDataError as error:
        if len(docs) == 1:
            error.key = docs[0].key
            return [error]
    return [each for doc in docs for each in await read_each(driver, thread_id, namespace, base, [doc])]


async def _pending(driver: Driver, base: Key, namespace: str, id: str) -> Sequence[PendingWrite]:
    return [_write(item) async for item in scan_all(driver, writes_key(base, namespace, id))]


async def _parts(driver: Driver, digests: Mapping[str, Key]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    wanted = list(digests)
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        items = await driver.get([digests[digest] for digest in some])
        found |= {
            digest: item.value
            for digest, item in zip(some, items, strict=True)
            if item is not None and item.value is not None
        }
    return found


def _write(item: Item) -> PendingWrite:
    written = load(item, PENDING_WRITE)
    parts = {digest: assemble(node, {}) for digest, node in written["parts"].items()}
    value = assemble(written["node"], parts)
    return PendingWrite(task_id=written["task"], index=written["index"], channel=written["channel"], value=value)
