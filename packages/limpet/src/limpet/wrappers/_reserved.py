"""The library's own keys, stored as plaintext below every wrapper."""

from __future__ import annotations

from ..driver import Item, Key, Put, key, name

__all__ = ["MANIFEST", "PROGRESS", "RING", "is_ours", "is_readable"]

MANIFEST = name("manifest")
"""The key of the manifest, in every database that Limpet ever opened."""

RING = name("keyring")
"""Where an encrypted database stores its key ring."""

PROGRESS = key(RING, name("rotation"))
"""How far a rotation has come."""


def is_ours(key: Key) -> bool:
    """Return whether a key belongs to the key ring, which callers never see."""
    return key == RING or key.startswith(f"{RING}!")


def is_readable(item: Item | Put) -> bool:
    """Return whether a value is stored in plaintext in an encrypted database: encrypted values are always bytes."""
    key, value = item.key, item.value
    return isinstance(value, str) and (key == MANIFEST or (not value and key.startswith("health!")))
