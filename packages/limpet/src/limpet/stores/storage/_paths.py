"""`users:alice` to segments, and segments to encoded keys."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from ..._errors import InvalidKeyError
from ...driver import Key, key, name, text

__all__ = ["ROOT", "Path", "join", "key_of", "split"]

Path: TypeAlias = tuple[str, ...]

ROOT = name("storage")
"""The first segment of every plain key: what stores keep lies beside it."""


def split(written: str) -> Path:
    """The segments of a key as the application writes it; `""` has none.

    Only `:` separates, and nothing is merged or cut: `a/b`, `a:b`, `a::b` and `a?b` are four keys.
    """
    if not isinstance(written, str):
        raise InvalidKeyError(f"a key must be a string like 'users:alice', not {type(written).__name__}")
    return tuple(written.split(":")) if written else ()


def join(path: Path) -> str:
    """The reverse of `split`."""
    return ":".join(path)


@lru_cache(maxsize=2048)
def key_of(path: Path) -> Key:
    """Where a path lies on its driver."""
    return key(ROOT, *map(text, path))
