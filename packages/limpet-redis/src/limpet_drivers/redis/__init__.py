"""Limpet on Redis and Valkey."""

from ._driver import RedisDriver

__all__ = ["RedisDriver"]
