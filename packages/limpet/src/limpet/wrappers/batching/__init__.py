"""What one process asks at the same time travels together."""

from ._batching import Batching

__all__ = ["Batching"]
