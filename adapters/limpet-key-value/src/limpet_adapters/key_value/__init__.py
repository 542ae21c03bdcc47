"""Stores of py-key-value, and so of FastMCP, on Limpet.

from limpet_adapters.key_value import LimpetKeyValue

storage = LimpetKeyValue(open_persistence("redis://..."))       # a store of py-key-value on Limpet
persistence = create_persistence(KeyValueDriver(store))         # Limpet on a store of py-key-value
"""

from ._driver import KeyValueDriver
from ._store import LimpetKeyValue

__all__ = ["KeyValueDriver", "LimpetKeyValue"]
