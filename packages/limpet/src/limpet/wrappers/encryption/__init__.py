"""Encrypted values, digested keys, and the encryption keys."""

from ._encrypted import Encrypted, encrypted
from ._key_sources import KeySource, find_key, key_in_environment, new_key
from ._rotation import Rotation, rotate

__all__ = ["Encrypted", "KeySource", "Rotation", "encrypted", "find_key", "key_in_environment", "new_key", "rotate"]
