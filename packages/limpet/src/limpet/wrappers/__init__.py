"""Drivers around drivers. Each delegates everything and changes one thing."""

from ._cached import Cached, cached
from ._compressed import Compressed, compressed
from ._read_only import ReadOnly, read_only
from ._reserved import MANIFEST
from ._traced import Traced, traced
from ._value_wrapper import ValueWrapper
from ._wrapper import Wrap, Wrapper, ensure_owner, layers
from .batching import Batching
from .encryption import Encrypted, KeySource, Rotation, encrypted, rotate

__all__ = [
    "MANIFEST",
    "Batching",
    "Cached",
    "Compressed",
    "Encrypted",
    "KeySource",
    "ReadOnly",
    "Rotation",
    "Traced",
    "ValueWrapper",
    "Wrap",
    "Wrapper",
    "cached",
    "compressed",
    "encrypted",
    "ensure_owner",
    "layers",
    "read_only",
    "rotate",
    "traced",
]
