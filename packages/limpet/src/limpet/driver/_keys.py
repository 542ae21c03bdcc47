"""Encode segments as one key, and decode them.

A key is a sequence of segments, separated by `!`. Every character up to `#` is written as `#hh`, so that encoded keys
sort by segment and then by UTF-8 bytes: `v1 < v1 x < v1-b < v10`.
A segment shows its kind: a name chosen by a program (`[a-z][a-z0-9_.-]*`), a number (16 decimal digits), or text from a
user (`@...`).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256

from .._errors import InvalidKeyError
from .._secrets import raise_alone
from ._types import Key

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_TEXT",
    "check_counter",
    "check_key",
    "counter_key",
    "entry_key",
    "fence_key",
    "is_counter",
    "is_entry",
    "is_fence",
]
__all__ += ["is_number", "key", "lease_of", "name", "number", "split", "text", "text_of"]

MAX_KEY_BYTES = 1024
MAX_TEXT = 8192
"""Characters of one text in a key: an id, a namespace, a channel."""
_LONG = 200
"""Text with more encoded bytes than this is truncated and digested."""
_PREFIX = 160
_MAX_NUMBER = 10**16 - 1

_NAME = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)
_SPECIAL = re.compile("[\x00-\x23]")
_ESCAPE = re.compile("#([0-9a-f]{2})")
_SEGMENT = (
    r"(?:[a-z][a-z0-9_.-]*|[0-9]{16}"
    r"|@[^\x00-\x23\ud800-\udfff]*(?:#(?:[01][0-9a-f]|2[0-3])[^\x00-\x23\ud800-\udfff]*)*(?:\"[A-Za-z0-9_-]{22})?)"
)
_KEY = re.compile(f"{_SEGMENT}(?:!{_SEGMENT})*")


def name(segment: str) -> str:
    """Return a segment for a name chosen by the program: lower-case letters, digits, `_`, `.` and `-`."""
    if not _NAME.fullmatch(segment):
        raise InvalidKeyError(f"{segment!r} is not a name: start with a-z, then use a-z, 0-9, '_', '.' or '-'")
    return segment


def number(value: int) -> str:
    """Return a segment for a whole number from 0 to 9,999,999,999,999,999. Numbers sort by value."""
    if not 0 <= value <= _MAX_NUMBER:
        raise InvalidKeyError(f"{value} is not a number segment: use 0 to {_MAX_NUMBER}")
    return f"{value:016d}"


def text(value: str) -> str:
    """Return a segment for any user text.

    Text of more than 200 encoded bytes becomes its longest prefix of whole characters within 160 bytes, a `"`, and 22
    characters of its SHA-256. Equality still works, the order is by that form, and the real text must be stored in the
    value. Raises `InvalidKeyError` for a lone surrogate, and for more than 8,192 characters.
    """
    if len(value) > MAX_TEXT:
        raise InvalidKeyError(
            f"{value[:40]!r}... has {len(value):,} characters: an id or a part of a key may have at most {MAX_TEXT:,}"
        )
    encoded = _SPECIAL.sub(_escape, value)
    if encoded.isascii():
        if len(encoded) <= _LONG:
            return "@" + encoded
        raw = value.encode()
    else:
        try:
            raw = value.encode()
        except UnicodeEncodeError:
            raise_alone(InvalidKeyError(f"{value!r} contains a lone surrogate: a key must be encodable as UTF-8"))
        if len(encoded.encode()) <= _LONG:
            return "@" + encoded
    digest = urlsafe_b64encode(sha256(raw).digest())[:22].decode()
    kept: list[str] = []
    room = _PREFIX
    for character in value:
        shown = _SPECIAL.sub(_escape, character)
        room -= len(shown.encode())
        if room < 0:
            break
        kept.append(shown)
    return f'@{"".join(kept)}"{digest}'


def key(*segments: str) -> Key:
    """Join encoded segments (from `name`, `number`, `text`, or whole keys) into a key of at most 1,024 bytes."""
    joined = "!".join(segments)
    if not joined:
        raise InvalidKeyError("a key needs at least one segment")
    if len(joined) > MAX_KEY_BYTES // 4 and len(joined.encode()) > MAX_KEY_BYTES:
        raise InvalidKeyError(
            f"the key {joined[:60]!r}... is longer than {MAX_KEY_BYTES} bytes: use fewer or shorter segments"
        )
    return joined


def split(encoded: Key) -> tuple[str, ...]:
    """Return the encoded segments of a key."""
    return tuple(encoded.split("!"))


def text_of(segment: str) -> str | None:
    """Return the text in a text segment; `None` if it is a digest and the real text is in the value."""
    if not segment.startswith("@"):
        raise InvalidKeyError(f"{segment!r} is not a text segment: text begins with '@'")
    if '"' in segment:
        return None
    return _ESCAPE.sub(_unescape, segment[1:])


def is_number(segment: str) -> bool:
    """Return whether an encoded segment is a number."""
    return len(segment) == 16 and segment.isdecimal() and segment.isascii()


# What the name or number at the end of a key says about the item: for wrappers, which know no structures.

_COUNTER = "!n"
_FENCE = "!fence"


def counter_key(log: Key) -> Key:
    """Return the key for the next number of a log. Backends increment it, unless a wrapper numbers appends itself."""
    return key(log + _COUNTER)


def is_counter(encoded: Key) -> bool:
    """Return whether a key is that of a log's counter."""
    return encoded.endswith(_COUNTER)


def fence_key(lease: Key) -> Key:
    """Return the key of a lease's fence. Its etag lets the owner of the lease write, so it must not change."""
    return key(lease + _FENCE)


def lease_of(fence: Key) -> Key:
    """Return the key of the lease whose fence this is."""
    return fence.removesuffix(_FENCE)


def is_fence(encoded: Key) -> bool:
    """Return whether a key is that of a lease's fence."""
    return encoded.endswith(_FENCE)


def entry_key(entries: Key, n: int) -> Key:
    """Return where an append stores the put with this number: it adds the number to the key of the put."""
    return f"{entries}!{number(n)}"


def is_entry(encoded: Key) -> bool:
    """Return whether a key ends with a number, as the keys of an append do."""
    return is_number(encoded[-16:])


def check_key(encoded: object) -> None:
    """Refuse anything that is not an encoded key. Drivers only see encoded keys."""
    if not isinstance(encoded, str):
        raise InvalidKeyError(f"a key must be str, not {type(encoded).__name__}: build it with limpet.driver.key()")
    if len(encoded) > MAX_KEY_BYTES:  # before the cache, which would keep it, and the pattern, which would read it
        raise _too_long(encoded)
    _check_text(encoded)


def check_counter(encoded: object) -> None:
    """Refuse anything that is not the encoded key of a log's counter."""
    if not isinstance(encoded, str) or not encoded.endswith(_COUNTER):
        check_key(encoded)
        raise InvalidKeyError(
            f"{str(encoded)[:60]!r} cannot be the counter of a log: its last segment must be the name 'n' (see counter_key)"
        )
    if len(encoded) > MAX_KEY_BYTES:  # before the cache, which would keep it, and the pattern, which would read it
        raise _too_long(encoded)
    _check_text(encoded)


def _too_long(encoded: str) -> InvalidKeyError:
    return InvalidKeyError(f"the key {encoded[:60]!r}... is longer than {MAX_KEY_BYTES} bytes")


@lru_cache(maxsize=16384)
def _check_text(encoded: str) -> None:
    if not _KEY.fullmatch(encoded):
        raise InvalidKeyError(
            f"{encoded[:80]!r} is not an encoded key: build it with key(name(...), text(...), number(...))"
        )
    if len(encoded) > MAX_KEY_BYTES // 4 and len(encoded.encode()) > MAX_KEY_BYTES:
        raise _too_long(encoded)


def _escape(match: re.Match[str]) -> str:
    return f"#{ord(match[0]):02x}"


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))
