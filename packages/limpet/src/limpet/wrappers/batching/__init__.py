"""Batching: calls that one process makes at the same time are sent together."""

from ._batching import Batching

__all__ = ["Batching"]
