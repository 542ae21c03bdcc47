"""Keys of the library's own that lie below every wrapper, in the clear."""

from ..driver import key, name

__all__ = ["MANIFEST", "PROGRESS", "RING"]

MANIFEST = name("manifest")
"""The key, in every place that Holdfast ever opened."""

RING = name("keyring")
"""Where an encrypted place keeps its keys, locked."""

PROGRESS = key(RING, name("rotation"))
"""How far a rotation came."""
