"""Limpet on MySQL and MariaDB."""

from ._driver import MysqlDriver

__all__ = ["MysqlDriver"]
