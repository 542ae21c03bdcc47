"""Documents found by id and by indexes. Internal to this floor; import from `limpet.structures`."""

from ._collection import Collection, RepairReport
from ._indexes import Index

__all__ = [
    "Collection",
    "Index",
    "RepairReport",
]
