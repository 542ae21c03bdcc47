"""Limpet on plain files."""

from ._driver import FsDriver

__all__ = ["FsDriver"]
