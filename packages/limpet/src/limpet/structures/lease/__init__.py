"""Leases, and items that are somebody's for a while. For this floor; the public door is `limpet.structures`."""

from ._held import Held
from ._holding import Holding
from ._lease import Grant, Lease

__all__ = [
    "Grant",
    "Held",
    "Holding",
    "Lease",
]
