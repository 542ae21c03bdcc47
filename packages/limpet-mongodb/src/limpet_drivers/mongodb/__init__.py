"""Limpet on MongoDB."""

from ._driver import MongodbDriver

__all__ = ["MongodbDriver"]
