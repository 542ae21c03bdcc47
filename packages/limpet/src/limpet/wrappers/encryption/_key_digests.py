"""Keys in an encrypted database: names and numbers are unchanged, text is replaced by keyed digests."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b

from ...driver import MAX_KEY_BYTES, Key, is_number, number, split

__all__ = ["KeyDigests", "is_digested"]

_MARK = '@"'
"""How a digest starts.

No text does: `"` is always escaped in text, and the short form of long text starts with text.
"""
_NUMBERS = 2
"""The numbers at the end of an entry's key: the log's incarnation and the entry's own."""
_ROOM = MAX_KEY_BYTES - 25 - 17 * _NUMBERS
"""Characters of a stored key that leave room for one more digest and these numbers."""
_REMEMBERED = 16384
_ANY = number(0)


def is_digested(key: Key) -> bool:
    """Return whether a stored key lacks part of its real key."""
    return _MARK in key


class KeyDigests:
    """Each text segment becomes `@"` and 22 characters of BLAKE2b under the index key, chained with what precedes it.

    So equal text has the same digest only below the same parent, and descendants stay below their parents. If a key
    would be too long, its end becomes one digest, except for the ends of a log's keys: two numbers, or `n`. The stored
    key of a stored key is itself.
    """

    def __init__(self, index_key: bytes) -> None:
        self._index_key = index_key
        self._placed = lru_cache(maxsize=_REMEMBERED)(self._place)
        self._true_keys: dict[Key, Key] = {}

    def stored(self, key: Key) -> Key:
        """Return the backend's key for a caller's `key`."""
        return key if "@" not in key and len(key) <= _ROOM else self._placed(key)[1]

    def true_key(self, stored: Key) -> Key | None:
        """Return the real key of a stored key, if it was requested recently."""
        return self._true_keys.get(stored) if is_digested(stored) else stored

    def takes_entries(self, key: Key) -> bool:
        """Return whether the stored key of an entry consists of that of `key` and the entry's number."""
        return not self.base(key)[1] or self.stored(f"{key}!{_ANY}") == f"{self.stored(key)}!{_ANY}"

    def base(self, key: Key) -> tuple[Key, bool]:
        """Return the stored key that all descendants of `key` are below, and whether there are others below it."""
        if not key:
            return key, False
        base, stored = self._placed(key)
        return base, base != stored

    def _place(self, key: Key) -> tuple[Key, Key]:
        base, stored = self._digested(key)
        if not is_digested(key):
            if len(self._true_keys) >= _REMEMBERED:
                del self._true_keys[next(iter(self._true_keys))]
            self._true_keys[stored] = key
        return base, stored

    def _digested(self, key: Key) -> tuple[Key, Key]:
        segments = split(key)
        base = ""
        for place in range(len(segments)):
            segment = segments[place]
            shown = self._digest(base, segment) if segment.startswith("@") else segment
            longer = f"{base}!{shown}" if base else shown
            if len(longer) > _ROOM:
                break
            base = longer
        else:
            return base, base
        rest = segments[place:]
        end = len(rest) - (rest[-1] == "n")
        while end and len(rest) - end < _NUMBERS and is_number(rest[end - 1]):
            end -= 1
        folded = "!".join(rest[:end])
        parts = (base, folded and self._digest(base, folded), *rest[end:])
        return base, "!".join(filter(None, parts))

    def _digest(self, base: Key, rest: Key) -> str:
        if rest.startswith(_MARK) and "!" not in rest:
            return rest
        digest = blake2b(f"{base}!{rest}".encode(), digest_size=16, key=self._index_key, person=b"limpet key")
        return _MARK + urlsafe_b64encode(digest.digest())[:22].decode()
