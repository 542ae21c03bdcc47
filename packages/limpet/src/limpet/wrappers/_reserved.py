"""The library's own keys, stored as plaintext below every wrapper."""

from __future__ import annotations

from ..driver import Item, Key, Put, key, name

__all__ = ["MANIFEST", "PROGRESS", "RING", "is_ours", "is_readable"]

MANIFEST = name("manifest")
"""The key, in every place that Limpet ever opened."""

RING = name("keyring")
"""Where an encrypted place keeps its keys, locked."""

PROGRESS = key(RING, name("rotation"))
"""How far a rotation came."""


def is_ours(key: Key) -> bool:
    """Whether a key is the key ring's, which callers never see."""
    return key == RING or key.startswith(f"{RING}!")


def is_readable(item: Item | Put) -> bool:
    """Whether a value is one of those that lie in the clear in an encrypted place: sealed ones are always bytes."""
    key, value = item.key, item.value
    return isinstance(value, str) and (key == MANIFEST or (not value and key.startswith("health!")))
