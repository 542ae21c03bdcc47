"""Drivers around drivers: each delegates everything and changes one thing."""

from ._cached import Cached, cached
from ._coalescer import Coalescer
from ._compressed import Compressed, compressed
from ._encrypted import Encrypted, encrypted
from ._key_sources import KeySource
from ._read_only import ReadOnly, read_only
from ._rotation import Rotation, rotate
from ._traced import Traced, traced
from ._value_wrapper import ValueWrapper
from ._wrapper import Wrap, Wrapper, layers

__all__ = [
    "Cached",
    "Coalescer",
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
    "layers",
    "read_only",
    "rotate",
    "traced",
]
