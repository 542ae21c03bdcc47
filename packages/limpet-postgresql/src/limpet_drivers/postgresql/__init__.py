"""Limpet on PostgreSQL."""

from ._driver import PostgresqlDriver

__all__ = ["PostgresqlDriver"]
