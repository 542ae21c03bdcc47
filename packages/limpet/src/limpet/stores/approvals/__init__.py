"""Approvals. Internal to this floor; import from `limpet.stores`."""

from ._approvals import ApprovalStore, Claim

__all__ = [
    "ApprovalStore",
    "Claim",
]
