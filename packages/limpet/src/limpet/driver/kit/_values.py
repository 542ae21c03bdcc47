"""Sizes of values, and the mark by which a text-only or bytes-only backend distinguishes text from bytes."""

from __future__ import annotations

from ..._errors import CorruptDataError, InvalidValueError
from ..._secrets import raise_alone
from .._types import Value

__all__ = ["from_bytes", "size_of", "to_bytes"]

_TEXT = b"t"
_BYTES = b"b"


def size_of(value: Value) -> int:
    """Return the size of a value in bytes (text: of its UTF-8). Raises `InvalidValueError` for a lone surrogate."""
    if isinstance(value, bytes) or value.isascii():
        return len(value)
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        raise_alone(InvalidValueError("the text contains a lone surrogate: store it as bytes, or replace it"))


def to_bytes(value: Value) -> bytes:
    """Return bytes that distinguish text from bytes, for a backend with a single binary column."""
    return _TEXT + value.encode() if isinstance(value, str) else _BYTES + value


def from_bytes(stored: bytes) -> Value:
    """The reverse of `to_bytes`."""
    mark, rest = stored[:1], stored[1:]
    if mark == _BYTES:
        return rest
    if mark == _TEXT:
        try:
            return rest.decode()
        except UnicodeDecodeError:
            raise_alone(CorruptDataError("a stored text is not UTF-8"))
    raise CorruptDataError("a stored value lacks the mark that distinguishes text from bytes")
