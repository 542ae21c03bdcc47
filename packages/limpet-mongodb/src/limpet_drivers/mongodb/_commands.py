"""Commands: statements about one document each, alone or in a transaction, and their results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from bson import DatetimeMS
from limpet.driver import KEEP, Append, Delete, If, Item, Key, Outcome, Page, Put, Range, Unit, Write, new_etag
from limpet.driver.kit import (
    Evaluation,
    Record,
    SerializationFailure,
    below,
    between,
    evaluate,
    keys_to_read,
    row_changes,
    size_of,
)

from ._client import PAGE_BYTES, Client, Transaction
from ._errors import DUPLICATE, of_reply
from ._layout import document_of, record_of

__all__ = ["clear", "fetch", "group", "is_plain", "list_page", "lone", "play", "purge"]

Verb: TypeAlias = Literal["update", "delete"]
Documents: TypeAlias = list[dict[str, Any]]
Statement: TypeAlias = tuple[Verb, dict[str, Any]]

_REMOVED_AT_ONCE = 1000
_LASTING = {"expiresAt": {"$exists": False}}
"""For items that do not expire, the current time does not matter."""


async def fetch(client: Client, keys: Sequence[Key], values: bool) -> list[Item | None]:
    """Return the live items at these keys, in order, in one round trip."""
    records, now = await _read(client, keys, values=values)
    return [
        None if (record := records.get(key)) is None or record.gone(now) else record.item(key, now, values=values)
        for key in keys
    ]


async def list_page(client: Client, range: Range) -> Page:
    """Return one page, by a range of `_id`. It is short if some of the examined items have expired."""
    low, high = between(replace(range, after=None))
    bounds: dict[str, Any] = {"$gte": low} if range.after is None or range.after < low else {"$gt": range.after}
    if high is not None:
        bounds["$lt"] = high
    documents, late = await _timed(
        client, lambda: client.run({"_id": bounds}, values=range.values, reverse=range.reverse, limit=range.limit + 1)
    )
    room = PAGE_BYTES
    for place, document in enumerate(documents):
        if place == range.limit or room <= 0:
            documents = documents[:place]
            following = documents[-1]["_id"]
            break
        room -= size_of(document.get("value") or "")
    else:
        following = None
    records, now = await _records(client, documents, late)
    live = [record.item(key, now, values=range.values) for key, record in records.items() if not record.gone(now)]
    return Page(live, following)


def is_plain(write: Write) -> bool:
    """Return whether it is unconditional, and so needs no reading."""
    return write.cond is None and not (isinstance(write, Put) and write.ttl_ms is KEEP)


async def group(client: Client, writes: Sequence[Write]) -> list[Outcome | SerializationFailure]:
    """Write independent unconditional units: one command for the puts and one for the deletes.

    A put that finds its own etag, or another writer creating the same key, has lost a race.
    """
    now = await client.clock() if any(isinstance(write, Put) and write.ttl_ms is not None for write in writes) else 0
    outcomes: list[Outcome | SerializationFailure] = [None] * len(writes)
    statements = [_plain(write, now) for write in writes]
    for verb, part in _by_verb(statements):
        places = [place for place, (each, _) in enumerate(statements) if each == verb]
        for place, failed in (await client.write(verb, part)).failed.items():
            lost = failed.get("code") == DUPLICATE
            outcomes[places[place]] = SerializationFailure() if lost else of_reply(failed, client.options.place)
    return outcomes


async def lone(client: Client, write: Write) -> Outcome:
    """Apply a batch of one write, in one statement if no clock is needed. Raises `SerializationFailure`.

    Otherwise, or to find out why the statement matched nothing: read, evaluate, and send a statement that is only
    applied if what was read has not changed.
    """
    if is_plain(write):
        (outcome,) = await group(client, [write])
        if not isinstance(outcome, SerializationFailure):
            return outcome
    elif (statement := _guarded(write)) is not None and await _found(client, statement[0], [statement[1]]) == 1:
        return None
    expires = isinstance(write, Put) and isinstance(write.ttl_ms, int)
    records, now = await _read(client, [write.key], values=True, clock=expires)
    evaluation = evaluate([[write]], now, records)
    for key, record in evaluation.effects.items():
        seen = records.get(key)
        unchanged = {"etag": {"$exists": False} if seen is None else seen.etag}
        if isinstance(write, Put) and record is not None and record.expires_at is None:
            statement = _put_by_the_servers_clock(write, unchanged, upsert=seen is None)
        else:
            statement = _change(key, record, unchanged, upsert=seen is None)
        if await _found(client, statement[0], [statement[1]]) != 1:
            raise SerializationFailure
    return evaluation.outcomes[0]


async def play(client: Client, units: Sequence[Unit]) -> list[Outcome]:
    """Run a group of batches in one transaction: read, evaluate, write, commit.

    Raises `SerializationFailure`, or a client error that is `transient`, if it must be run again.
    """
    wanted = keys_to_read(units)
    early = None if client.tells_time else await client.clock()
    async with client.transaction() as within:
        documents = await client.find(_at(list(wanted)), values=any(wanted.values()), within=within)
        records, now = await _records(client, documents, early, clock=True)
        evaluation = evaluate(units, now, records)
        todo = row_changes(units, evaluation, records, now)
        # A transaction notices changes to what it wrote, not to what it read. So it also writes what it read, and
        # reserves absent keys with expired items.
        read = [key for key in _merely_read(units, evaluation) if key not in evaluation.effects]
        held = {key: Record("", new_etag(), now, now) for key in read if key not in records}
        statements = [_change(key, record, {}, upsert=True) for key, record in (held | todo.new | todo.changed).items()]
        statements += [("update", {"q": {"_id": key}, "u": {"$inc": {"checks": 1}}}) for key in read if key in records]
        statements += [_change(key, None, {}, upsert=False) for key in todo.deleted]
        for verb, part in _by_verb(statements):
            if await _found(client, verb, part, within) != len(part):
                raise SerializationFailure
    return evaluation.outcomes


async def clear(client: Client, base: Key) -> tuple[int, bool]:
    """Remove some of what is below `base`. Return how many live items that were, and whether there may be more."""
    page = await list_page(client, Range(base, limit=_REMOVED_AT_ONCE, values=False))
    low, high = below(base)
    bounds: dict[str, Any] = {"$gte": low}
    if page.next is not None:
        bounds["$lte"] = page.next
    elif high is not None:
        bounds["$lt"] = high
    await _removed(client, {"_id": bounds, "expiresAt": {"$lte": DatetimeMS(await client.clock())}})
    return await _removed(client, {"_id": bounds}), page.next is not None


async def purge(client: Client) -> tuple[int, bool]:
    """Free some expired items. Return how many, and whether there may be more."""
    over = {"expiresAt": {"$lte": DatetimeMS(await client.clock())}}
    keys = [document["_id"] for document in await client.find(over, values=False, limit=_REMOVED_AT_ONCE)]
    freed = await _removed(client, {"_id": {"$in": keys}, **over}) if keys else 0
    return freed, len(keys) == _REMOVED_AT_ONCE


async def _read(
    client: Client, keys: Sequence[Key], *, values: bool, clock: bool = False
) -> tuple[dict[Key, Record], int]:
    documents, now = await _timed(
        client, lambda: client.find(_at(keys), values=values, limit=-1 if len(keys) == 1 else 0)
    )
    return await _records(client, documents, now, clock=clock)


async def _timed(client: Client, read: Callable[[], Awaitable[Documents]]) -> tuple[Documents, int | None]:
    """Return documents, and the time from before they were read, if it matters.

    So whatever seems to have expired had done so, and still existed.
    """
    documents = await read()
    if documents and documents[0].get("now") is not None:
        client.tells_time = True
    if client.tells_time or not any("expiresAt" in document for document in documents):
        return documents, None
    now = await client.clock()
    return await read(), now


async def _records(
    client: Client, documents: Documents, now: int | None, *, clock: bool = False
) -> tuple[dict[Key, Record], int]:
    """Return what was found, expired or not, and what time it was, requested separately only if `clock` is needed."""
    records = dict(record_of(document, client.options.place) for document in documents)
    if now is not None:
        return records, now
    if documents and client.tells_time:
        return records, int(documents[0]["now"])
    return records, await client.clock() if clock else 0


async def _removed(client: Client, query: Mapping[str, Any]) -> int:
    return await _found(client, "delete", [{"q": query, "limit": 0}])


async def _found(
    client: Client, verb: Verb, statements: Sequence[Mapping[str, Any]], within: Transaction | None = None
) -> int:
    """Return how many documents statements matched or created. If another writer created the key, none is matched."""
    answer = await client.write(verb, statements, within)
    for failed in answer.failed.values():
        if failed.get("code") != DUPLICATE:
            raise of_reply(failed, client.options.place)
    return 0 if answer.failed else answer.found


def _at(keys: Sequence[Key]) -> dict[str, Any]:
    return {"_id": keys[0] if len(keys) == 1 else {"$in": list(keys)}}


def _plain(write: Write, now: int) -> Statement:
    if not isinstance(write, Put):
        return "delete", {"q": {"_id": write.key}, "limit": 1}
    another = {"etag": {"$ne": write.etag}}
    if isinstance(write.ttl_ms, int):
        return _change(write.key, Record(write.value, write.etag, now, now + write.ttl_ms), another, upsert=True)
    return _put_by_the_servers_clock(write, another, upsert=True)


def _guarded(write: Write) -> Statement | None:
    """Return a statement that only applies if the condition holds, for an item that does not expire."""
    cond = write.cond
    if isinstance(write, Delete):
        return "delete", {"q": {"_id": write.key, **_LASTING, **_having(cond)}, "limit": 1}
    if not isinstance(write, Put) or isinstance(write.ttl_ms, int) or cond == write.etag:
        return None
    if cond is If.ABSENT:
        return _put_by_the_servers_clock(write, {"etag": {"$exists": False}}, upsert=True)
    having = {"etag": {"$ne": write.etag}, **_having(cond), **_LASTING}
    return _put_by_the_servers_clock(write, having, upsert=cond is None)


def _having(cond: object) -> dict[str, Any]:
    return {"etag": cond} if isinstance(cond, str) else {}


def _put_by_the_servers_clock(put: Put, having: Mapping[str, Any], *, upsert: bool) -> Statement:
    return "update", {
        "q": {"_id": put.key, **having},
        "u": {
            "$set": {"value": put.value, "etag": put.etag},
            "$currentDate": {"updatedAt": True},
            "$unset": {"expiresAt": ""},
        },
        "upsert": upsert,
    }


def _change(key: Key, record: Record | None, having: Mapping[str, Any], *, upsert: bool) -> Statement:
    """Replace an existing document with a record, or delete it."""
    query = {"_id": key, **having}
    if record is None:
        return "delete", {"q": query, "limit": 1}
    return "update", {"q": query, "u": document_of(key, record), "upsert": upsert}


def _by_verb(row_changes: Sequence[Statement]) -> Iterable[tuple[Verb, list[dict[str, Any]]]]:
    verbs: tuple[Verb, ...] = ("update", "delete")
    for verb in verbs:
        if statements := [statement for each, statement in row_changes if each == verb]:
            yield verb, statements


def _merely_read(units: Sequence[Unit], evaluation: Evaluation) -> Iterable[Key]:
    """Return keys that outcomes depend on, and that must not change before the transaction ends.

    For a unit that changes nothing, everything is as it was when it was read, unless it was evaluated on what the group
    writes.
    """
    merely: dict[Key, None] = {}
    for unit, outcome in zip(units, evaluation.outcomes, strict=True):
        if isinstance(unit, Append):
            if not isinstance(outcome, Exception):
                merely[unit.check.key] = None
        elif len(unit) > 1 and (outcome is None or any(write.key in evaluation.effects for write in unit)):
            merely |= {write.key: None for write in unit if not isinstance(write, Put) or outcome is not None}
    return merely
