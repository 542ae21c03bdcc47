"""Keys in an encrypted database: names and numbers are unchanged, text is replaced by keyed digests."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b

from ...driver import MAX_KEY_BYTES, Key, is_number, number, split

__all__ = ["KeyDigests", "is_digested"]

_MARK = '@"'
"""How a digest begins. No text does: `"` is never literal in one, and a long text's short form begins with its text."""
_NUMBERS = 2
"""Numbers at the end of a log's entry: its log's incarnation and its own."""
_ROOM = MAX_KEY_BYTES - 25 - 17 * _NUMBERS
"""Characters of a stored key that leave room for one more digest and these numbers."""
_REMEMBERED = 16384
_ANY = number(0)


def is_digested(key: Key) -> bool:
    """Whether a stored key lacks something that its true one says."""
    return _MARK in key


class KeyDigests:
    """Each text segment becomes `@"` and 22 characters of BLAKE2b under the index key, chained with what stands before it.

    So equal text digests alike below the same keys only, and descendants stay below what they belong to. What would make
    a key too long is digested as one, but for what logs end with: two numbers, or `n`. The stored key of a stored key is itself.
    """

    def __init__(self, index_key: bytes) -> None:
        self._index_key = index_key
        self._placed = lru_cache(maxsize=_REMEMBERED)(self._place)
        self._true_keys: dict[Key, Key] = {}

    def stored(self, key: Key) -> Key:
        """Where the backend holds what callers know as `key`."""
        return key if "@" not in key and len(key) <= _ROOM else self._placed(key)[1]

    def true_key(self, stored: Key) -> Key | None:
        """What is stored at a key, as far as it was asked for lately."""
        return self._true_keys.get(stored) if is_digested(stored) else stored

    def takes_entries(self, key: Key) -> bool:
        """Whether the stored key of an entry is that of `key` and the entry's number."""
        return not self.base(key)[1] or self.stored(f"{key}!{_ANY}") == f"{self.stored(key)}!{_ANY}"

    def base(self, key: Key) -> tuple[Key, bool]:
        """The stored key below which all descendants of `key` lie, and whether others lie there too."""
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
