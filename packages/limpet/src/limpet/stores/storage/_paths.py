"""Split `users:alice` into segments, and turn segments into encoded keys."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from ..._errors import InvalidKeyError
from ...driver import Key, key, name, text

__all__ = ["ROOT", "Path", "join", "key_of", "split"]

Path: TypeAlias = tuple[str, ...]

ROOT = name("storage")
"""The first segment of every plain key. What stores keep is next to it."""


def split(written: str) -> Path:
    """Return the segments of an application's key; `""` has none.

    Only `:` separates, and nothing is merged or removed: `a/b`, `a:b`, `a::b` and `a?b` are four different keys.
    """
    if not isinstance(written, str):
        raise InvalidKeyError(f"a key must be a string like 'users:alice', not {type(written).__name__}")
    return tuple(written.split(":")) if written else ()


def join(path: Path) -> str:
    """The reverse of `split`."""
    return ":".join(path)


@lru_cache(maxsize=2048)
def key_of(path: Path) -> Key:
    """Return the key of a path on its driver."""
    return key(ROOT, *map(text, path))
