"""Namespaces that form a tree: where their records are, and how they are listed without reading all records.

The records of the namespace `("a", "b")` are below `kv.tree!@a!@b!@`: labels are never empty, so an empty text ends
them. It sorts first, so a namespace comes before those below it. A listing finds the next namespace by continuing
behind all records of the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import TypeAlias

from ..._errors import CorruptDataError, InvalidKeyError, InvalidValueError
from ...driver import Driver, Item, Key, Range, key, name, text
from ...structures import KeysBelow, Listing
from ..storage import read, true_paths
from ._forms import checked_text

__all__ = ["Labels", "base_of", "checked_labels", "checked_pairs", "labels_of", "namespaces_below", "tree_key"]

Labels: TypeAlias = tuple[str, ...]

_ANY = "*"
_ROOT = name("kv.tree")
_END = text("")
_BEHIND = name("z")
"""Sorts behind every text segment, and before everything that follows."""
_MOST = 30
"""Labels of a namespace: where each becomes a digest, in an encrypted database, a key takes that many."""
_STEP = 16
"""Records read at once, so that namespaces with few records take few calls."""


def checked_labels(namespace: Sequence[str], what: str = "namespace", *, least: int = 1) -> Labels:
    """Return the labels of a namespace, or of a part of one. Raises `InvalidKeyError`."""
    if isinstance(namespace, (str, bytes)) or not isinstance(namespace, Sequence):
        raise InvalidKeyError(f"a {what} must be a string or a tuple of labels, not {type(namespace).__name__}")
    labels = tuple(namespace)
    if not least <= len(labels) <= _MOST:
        raise InvalidKeyError(f"a {what} of {len(labels)} labels: use {least} to {_MOST}")
    for label in labels:
        if not isinstance(label, str):
            raise InvalidKeyError(f"each label of a {what} must be a string, not {type(label).__name__}")
        if not label:
            raise InvalidKeyError(f"a {what} with an empty label: each must have at least one character")
    return labels


def checked_pairs(pairs: Iterable[tuple[Sequence[str], str]]) -> list[tuple[Labels, str]]:
    """Return pairs of a namespace and a key. Raises `InvalidKeyError`."""
    found = []
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InvalidKeyError(
                f"pass pairs of a namespace and a key, (('users', 'u1'), 'k'), not {type(pair).__name__}"
            )
        found.append((checked_labels(pair[0]), checked_text(pair[1], "key")))
    return found


def tree_key(labels: Labels) -> Key:
    """Return the key that a namespace and all namespaces below it are below."""
    return key(_ROOT, *map(text, labels))


def base_of(labels: Labels) -> Key:
    """Return the key that the records of one namespace are below."""
    return key(tree_key(labels), _END)


def labels_of(item: Item) -> Labels:
    """Return the namespace of a record. Raises `CorruptDataError`."""
    return _labels(read(item).path, item)


def namespaces_below(
    driver: Driver, prefix: Labels, suffix: Labels, max_depth: int | None, limit: int | None, cursor: str | None
) -> Listing[Labels]:
    """List the namespaces with records, each once, in the order of their labels. See `KeyValueTree.namespaces`."""
    if max_depth is not None and max_depth < 1:
        raise InvalidValueError(
            f"max_depth is {max_depth}: it must be at least 1; leave it out to get whole namespaces"
        )
    base = tree_key(tuple(takewhile(lambda label: label != _ANY, prefix)))
    matches = _matching(prefix, suffix)

    async def fetch(position: str | None, count: int) -> tuple[Sequence[Labels], str | None]:
        page = await driver.scan(Range(base, after=position, limit=_STEP, values=False))
        found: list[Labels] = []
        passed: Key | None = None
        for item, path in zip(page.items, await true_paths(driver, page.items), strict=True):
            if path is None:  # it is gone, and its key does not show its namespace
                continue
            labels = _labels(path, item)
            shown = labels[:max_depth]
            if found and shown == found[-1] and len(shown) == max_depth:
                continue
            passed = base_of(labels)
            if matches(labels):
                if not found or found[-1] != shown:
                    found.append(shown)
                if len(shown) == max_depth:
                    passed = tree_key(shown)
                if len(found) == count:
                    return found, key(passed, _BEHIND)
        if page.next is None:
            return found, None
        return found, page.next if passed is None else key(passed, _BEHIND)

    query = [base, "namespaces", repr(prefix), repr(suffix), str(max_depth)]
    return Listing(query, fetch, limit=limit, cursor=cursor, positions=KeysBelow(base))


def _matching(prefix: Labels, suffix: Labels) -> Callable[[Labels], bool]:
    def matches(labels: Labels) -> bool:
        if len(labels) < max(len(prefix), len(suffix)):
            return False
        pairs = [*zip(prefix, labels, strict=False), *zip(reversed(suffix), reversed(labels), strict=False)]
        return all(wanted in (_ANY, label) for wanted, label in pairs)

    return matches


def _labels(path: Sequence[str], item: Item) -> Labels:
    labels = tuple(path[:-2])
    if not labels or path[-2] or "" in labels:
        raise CorruptDataError(f"the item at {item.key!r} is not a record of a namespace", key=item.key)
    return labels
