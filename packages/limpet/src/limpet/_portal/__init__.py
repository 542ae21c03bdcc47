"""An event loop in a thread of its own, and calls to it from any other thread or loop."""

from ._crossing import Crossing
from ._portal import Portal

__all__ = ["Crossing", "Portal"]
