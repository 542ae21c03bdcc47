"""Drivers around drivers: each delegates everything and changes one thing."""

from ._coalescer import Coalescer
from ._compressed import Compressed, compressed
from ._read_only import ReadOnly, read_only
from ._value_wrapper import ValueWrapper
from ._wrapper import Wrapper, layers

__all__ = ["Coalescer", "Compressed", "ReadOnly", "ValueWrapper", "Wrapper", "compressed", "layers", "read_only"]
