"""Index entries: written and deleted in the document's batch, and checked against the document when found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...driver import Delete, Keep, Key, Put, Write, key, name, number, text

__all__ = ["Index", "IndexSet"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Index(Generic[T]):
    """A way to find documents by a string."""

    name: str
    """Chosen by the program: lower-case letters, digits, `_`, `.`, `-`."""
    value: Callable[[T], str | Collection[str] | None]
    """Returns the string that finds a document, or several; `None`: this index does not find it."""


class IndexSet(Generic[T]):
    """All index entries of a collection's documents.

    An entry's key is `<collection>.by!<index>[!<value>][!<created_at>]!<id>`, and its value is the id, because the key
    contains only a digest of a long id. The index `all` contains every document of a collection in creation order.
    """

    def __init__(
        self,
        collection: str,
        indexes: Sequence[Index[T]],
        id_of: Callable[[T], str],
        created_at: Callable[[T], int] | None,
    ) -> None:
        self.base = name(f"{collection}.by")
        self._indexes = {index.name: index for index in indexes}
        self._id_of = id_of
        self._created_at = created_at

    def prefix(self, index: str, value: str | None) -> Key:
        """Return the key that all entries for `value` are below."""
        if value is None:
            return key(self.base, name(index))
        return key(self.base, self._indexes[index].name, text(value))

    def entries(self, document: T) -> set[Key]:
        """Return the keys of a document's entries."""
        tail = [text(self._id_of(document))]
        found = set()
        if self._created_at is not None:
            tail.insert(0, number(max(0, self._created_at(document))))
            found.add(key(self.base, "all", *tail))
        for index in self._indexes.values():
            value = index.value(document)
            for each in [value] if isinstance(value, str) else value or ():
                found.add(key(self.base, index.name, text(each), *tail))
        return found

    def writes(self, old: Iterable[Key], document: T | None, ttl_ms: int | Keep | None, *, afresh: bool) -> list[Write]:
        """Return what to write with the document: add its new entries, and delete the old ones that it no longer has.

        With `afresh`, every entry is written, because the expiry changes with the document.
        """
        new = set() if document is None else self.entries(document)
        kept = set(old)
        writes: list[Write] = [Delete(entry) for entry in sorted(kept - new)]
        if document is not None:
            writes += [
                Put(entry, self._id_of(document), None, ttl_ms) for entry in sorted(new if afresh else new - kept)
            ]
        return writes
