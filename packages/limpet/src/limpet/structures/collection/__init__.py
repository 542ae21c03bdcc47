"""Documents found by id and by indexes. For this floor; the public door is `limpet.structures`."""

from ._collection import Collection, RepairReport
from ._indexes import Index

__all__ = [
    "Collection",
    "Index",
    "RepairReport",
]
