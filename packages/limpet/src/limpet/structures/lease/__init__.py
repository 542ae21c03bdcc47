"""Leases, and items that are somebody's for a while. For this floor; the public door is `limpet.structures`."""

from ._claimed_item import ClaimedItem
from ._lease import Lease, LeaseHandle
from ._owned_item import OwnedItem

__all__ = [
    "ClaimedItem",
    "Lease",
    "LeaseHandle",
    "OwnedItem",
]
