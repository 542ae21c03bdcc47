"""What a batch of LangGraph's store operations does, call by call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappush, heappushpop
from typing import Any

from limpet import InvalidValueError, TooLargeError
from limpet.stores import KeyValueEntry, NewEntry
from pydantic import BaseModel, ConfigDict, Field

from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    validate_op_namespace,
)

from ._filters import check_filter, matches
from ._steps import Step, Steps
from ._vectors import VectorIndex, best_score, to_unit

__all__ = ["StoredItem", "batch_steps"]

_ROOT = "langgraph.store"
"""The first label of every namespace: labels of LangGraph's contain no dot."""
_MOST_LABELS = 29
_PAGE = 200
_TOUCHED = 256
"""How many expiries are renewed in one batch: each writes the whole item."""
_FRESH = 0.99
"""An item with more than this share of its time left is not renewed: reading it in a loop would write it in a loop."""

Namespace = tuple[str, ...]
Entry = KeyValueEntry["StoredItem"]


class StoredItem(BaseModel):
    """An item as it is stored: its value, what is embedded of it, and for how many minutes a read keeps it."""

    model_config = ConfigDict(frozen=True)

    value: dict[str, Any]
    vectors: list[str] = Field(default_factory=list)
    minutes: float | None = None


def batch_steps(ops: Sequence[Op], index: VectorIndex | None, *, is_ordered: bool) -> Steps[list[Result]]:
    """Return the results in the order of the operations. What reads sees nothing of what this batch writes.

    `is_ordered` is whether the database lists text in order.
    """
    for op in ops:
        _check(op)
    results: list[Result] = [None] * len(ops)
    renewed: dict[tuple[Namespace, str], float] = {}
    gets = [(at, op) for at, op in enumerate(ops) if isinstance(op, GetOp)]
    if gets:
        found = yield Step("tree", "get_entries", ([((_ROOT, *op.namespace), op.key) for _, op in gets],))
        for (at, op), entry in zip(gets, found, strict=True):
            results[at] = None if entry is None else Item(**_shown(entry))
            renewed |= _renewal(entry, op.refresh_ttl)
    searches = [(at, op) for at, op in enumerate(ops) if isinstance(op, SearchOp)]
    queries: dict[str, list[float]] = {}
    if index is not None:
        for query in dict.fromkeys(op.query for _, op in searches if op.query):
            vector = yield Step("embeddings", "embed_query", (query,))
            queries[query] = to_unit(vector)
    for at, op in searches:
        scored = yield from _search(op, queries.get(op.query or ""))
        results[at] = [SearchItem(**_shown(entry), score=score) for score, entry in scored]
        for _, entry in scored:
            renewed |= _renewal(entry, op.refresh_ttl)
    for at, op in enumerate(ops):
        if isinstance(op, ListNamespacesOp):
            results[at] = yield from _namespaces(op, is_ordered)
    addresses = list(renewed.items())
    for start in range(0, len(addresses), _TOUCHED):
        yield Step("tree", "touch", (dict(addresses[start : start + _TOUCHED]),))
    puts = {(tuple(op.namespace), op.key): op for op in ops if isinstance(op, PutOp)}  # the last one of a key
    if puts:
        yield from _put(list(puts.values()), index)
    return results


def _check(op: Op) -> None:
    """Refuse what cannot be done, before anything is done."""
    if not isinstance(op, (GetOp, PutOp, SearchOp, ListNamespacesOp)):
        raise ValueError(f"Unknown operation type: {type(op)}")
    validate_op_namespace(op)
    if isinstance(op, PutOp):
        if not 1 <= len(op.namespace) <= _MOST_LABELS:
            raise InvalidNamespaceError(f"Namespace with {len(op.namespace)} labels: use 1 to {_MOST_LABELS}.")
        if op.value is not None and not (
            isinstance(op.value, Mapping) and all(isinstance(each, str) for each in op.value)
        ):
            raise InvalidValueError(f"a value must be a dict with text as keys, not {type(op.value).__name__}")
        if op.ttl is not None and (isinstance(op.ttl, bool) or not isinstance(op.ttl, (int, float)) or not op.ttl > 0):
            raise InvalidValueError(f"ttl is {op.ttl!r}: pass more than 0 minutes, or None")
    elif isinstance(op, SearchOp):
        check_filter(op.filter)
    if isinstance(op, (SearchOp, ListNamespacesOp)) and (op.limit < 0 or op.offset < 0):
        raise ValueError(f"limit is {op.limit} and offset is {op.offset}: both must be 0 or more")


def _search(op: SearchOp, query: list[float] | None) -> Steps[list[tuple[float | None, Entry]]]:
    wanted = op.offset + op.limit
    best: list[tuple[float, int, Entry]] = []
    others: list[Entry] = []
    seen = 0
    cursor: str | None = None
    while op.limit:
        limit = _PAGE if query is not None or op.filter else min(_PAGE, wanted - len(others))
        page = yield Step("tree", "entries", ((_ROOT, *op.namespace_prefix),), {"limit": limit, "cursor": cursor})
        for entry in page:
            if not matches(entry.value.value, op.filter):
                continue
            score = None if query is None else best_score(query, entry.value.vectors)
            if score is not None:
                seen += 1
                ranked = (score, -seen, entry)  # of equal scores, the first one found comes first
                if len(best) < wanted:
                    heappush(best, ranked)
                else:
                    heappushpop(best, ranked)
            elif len(others) < wanted:
                others.append(entry)
        cursor = page.cursor
        if cursor is None or (query is None and len(others) == wanted):
            break
    found = [(score, entry) for score, _, entry in sorted(best, reverse=True)]
    return [*found, *((None, entry) for entry in others)][op.offset : wanted]


def _namespaces(op: ListNamespacesOp, is_ordered: bool) -> Steps[list[Namespace]]:
    conditions = op.match_conditions or ()
    if not op.limit:
        return []
    prefix, more = _first(conditions, "prefix")
    suffix, still_more = _first(conditions, "suffix")
    wanted = op.offset + op.limit
    options: dict[str, Any] = {"suffix": suffix}
    others = [*more, *still_more]
    if not others and op.max_depth is not None:
        options["max_depth"] = op.max_depth + 1
    if not others and is_ordered:
        options["limit"] = wanted
    page = yield Step("tree", "namespaces", ((_ROOT, *prefix),), options)
    found = [labels[1:] for labels in page if all(_fits(labels[1:], each) for each in others)]
    if others:  # which were compared with whole namespaces
        found = list(dict.fromkeys(labels[: op.max_depth] for labels in found))
    return (found if is_ordered else sorted(found))[op.offset : wanted]


def _first(conditions: Iterable[MatchCondition], kind: str) -> tuple[Namespace, list[MatchCondition]]:
    found = [each for each in conditions if each.match_type == kind]
    return (tuple(found[0].path) if found else ()), found[1:]


def _fits(labels: Namespace, condition: MatchCondition) -> bool:
    path = condition.path
    if len(labels) < len(path):
        return False
    part = labels[: len(path)] if condition.match_type == "prefix" else labels[len(labels) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))


def _put(puts: Sequence[PutOp], index: VectorIndex | None) -> Steps[None]:
    texts = {
        (tuple(op.namespace), op.key): index.texts(op.value, op.index)
        for op in puts
        if index is not None and op.value is not None
    }
    embedded: dict[str, str] = {}
    to_embed = list(dict.fromkeys(text for each in texts.values() for text in each))
    if index is not None and to_embed:
        vectors = yield Step("embeddings", "embed_documents", (to_embed,))
        if len(vectors) != len(to_embed):
            raise InvalidValueError(
                f"{len(to_embed)} texts were given to embed(), which returned {len(vectors)} vectors"
            )
        embedded = {text: index.stored(vector) for text, vector in zip(to_embed, vectors, strict=True)}
    entries: list[NewEntry[StoredItem]] = []
    deleted: list[tuple[Namespace, str]] = []
    for op in puts:
        namespace = (_ROOT, *op.namespace)
        if op.value is None:
            deleted.append((namespace, op.key))
            continue
        vectors = [embedded[text] for text in texts.get((tuple(op.namespace), op.key), ())]
        stored = StoredItem(value=dict(op.value), vectors=vectors, minutes=op.ttl)
        entries.append(NewEntry(namespace, op.key, stored, None if op.ttl is None else op.ttl * 60))
    yield from _write(entries, deleted)


def _write(entries: Sequence[NewEntry[StoredItem]], deleted: Sequence[tuple[Namespace, str]]) -> Steps[None]:
    """Write everything in one batch, or in several where the driver does not take that much in one."""
    try:
        yield Step("tree", "write", (entries,), {"delete": deleted})
    except TooLargeError:
        if len(entries) + len(deleted) == 1:
            raise
        half, rest = (len(entries) + 1) // 2, (len(deleted) + 1) // 2
        yield from _write(entries[:half], deleted[:rest])
        if entries[half:] or deleted[rest:]:
            yield from _write(entries[half:], deleted[rest:])


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "namespace": entry.namespace[1:],
        "key": entry.key,
        "value": entry.value.value,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
    }


def _renewal(entry: Entry | None, is_wanted: bool) -> dict[tuple[Namespace, str], float]:
    if entry is None or not is_wanted or entry.value.minutes is None or entry.ttl is None:
        return {}
    seconds = entry.value.minutes * 60
    if entry.ttl > seconds * _FRESH:
        return {}
    return {(tuple(entry.namespace), entry.key): seconds}
