"""Drivers around drivers: each delegates everything and changes one thing."""

from ._coalescer import Coalescer
from ._compressed import Compressed, compressed
from ._value_wrapper import ValueWrapper
from ._wrapper import Wrapper, layers

__all__ = ["Coalescer", "Compressed", "ValueWrapper", "Wrapper", "compressed", "layers"]
