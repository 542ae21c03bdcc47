"""Typed values by key, and the states of agents.

Internal to this floor; import from `limpet.stores` and `limpet.state`.
"""

from ._entries import KeyValueEntry, NewEntry
from ._history import HISTORY, Revision, Revisions
from ._key_value import KeyValueStore
from ._state import AgentState, StateHistory, lease_of
from ._tree import KeyValueTree

__all__ = [
    "HISTORY",
    "AgentState",
    "KeyValueEntry",
    "KeyValueStore",
    "KeyValueTree",
    "NewEntry",
    "Revision",
    "Revisions",
    "StateHistory",
    "lease_of",
]
