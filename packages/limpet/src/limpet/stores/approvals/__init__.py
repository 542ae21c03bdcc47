"""Approvals. For this floor; the public door is `limpet.stores`."""

from ._approvals import ApprovalStore, Claim

__all__ = [
    "ApprovalStore",
    "Claim",
]
