"""Drivers around drivers: each delegates everything and changes one thing."""

from ._coalescer import Coalescer
from ._wrapper import Wrapper, layers

__all__ = ["Coalescer", "Wrapper", "layers"]
