"""Leases, and items that belong to someone for a while. Internal to this floor; import from `limpet.structures`."""

from ._claimed_item import ClaimedItem
from ._lease import Lease, LeaseHandle
from ._owned_item import OwnedItem

__all__ = [
    "ClaimedItem",
    "Lease",
    "LeaseHandle",
    "OwnedItem",
]
