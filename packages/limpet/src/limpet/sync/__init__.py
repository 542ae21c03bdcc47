"""The same names without `await`, for scripts, notebooks, threads, Flask and Django.

    with create_persistence("sqlite:///data/agent.db") as persistence:
        persistence.sessions.add_message("s1", UserMessage(content="Hello!"))

Records, errors, wrappers and policies are the same classes as everywhere.
"""

from ._approvals import ApprovalStore, Claim
from ._checkpoints import CheckpointStore
from ._conversations import ContainerRepository, ImageRepository, SessionRepository
from ._create import (
    create_persistence,
    create_persistence_from_env,
    create_queue,
    create_storage,
    open_persistence,
    open_persistence_from_env,
    open_storage,
)
from ._driver import Driver
from ._events import EventQueue
from ._face import Signal
from ._jobs import Job, WorkQueue
from ._listing import Listing
from ._persistence import Persistence
from ._records import AgentState, KeyValueStore, KeyValueTree, StateHistory
from ._state import StatefulAgent
from ._storage import BlobStore, Storage
from ._threads import FeedbackStore, ThreadStore
from ._upkeep import Upkeep

__all__ = [
    "AgentState",
    "ApprovalStore",
    "BlobStore",
    "CheckpointStore",
    "Claim",
    "ContainerRepository",
    "Driver",
    "EventQueue",
    "FeedbackStore",
    "ImageRepository",
    "Job",
    "KeyValueStore",
    "KeyValueTree",
    "Listing",
    "Persistence",
    "SessionRepository",
    "Signal",
    "StateHistory",
    "StatefulAgent",
    "Storage",
    "ThreadStore",
    "Upkeep",
    "WorkQueue",
    "create_persistence",
    "create_persistence_from_env",
    "create_queue",
    "create_storage",
    "open_persistence",
    "open_persistence_from_env",
    "open_storage",
]
