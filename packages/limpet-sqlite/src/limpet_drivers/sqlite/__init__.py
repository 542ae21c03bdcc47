"""Limpet on SQLite."""

from ._driver import SqliteDriver

__all__ = ["SqliteDriver"]
