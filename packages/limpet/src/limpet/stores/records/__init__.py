"""Typed values by key, and the states of agents.

Internal to this floor; import from `limpet.stores` and `limpet.state`.
"""

from ._history import HISTORY, Revision, Revisions
from ._key_value import KeyValueStore
from ._state import AgentState, StateHistory, lease_of

__all__ = [
    "HISTORY",
    "AgentState",
    "KeyValueStore",
    "Revision",
    "Revisions",
    "StateHistory",
    "lease_of",
]
