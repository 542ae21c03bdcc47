"""Sealed values, digested keys, and the keys that open them."""

from ._encrypted import Encrypted, encrypted
from ._key_sources import KeySource
from ._rotation import Rotation, rotate

__all__ = ["Encrypted", "KeySource", "Rotation", "encrypted", "rotate"]
