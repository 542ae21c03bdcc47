"""Floor 3, what applications call. For annotations: the objects come from `create_persistence` and `create_storage`."""

from ._approvals import ApprovalStore, Claim
from ._blobs import BlobStore
from ._checkpoints import CheckpointStore
from ._containers import ContainerRepository
from ._events import Event, EventQueue, Recovered
from ._feedback import FeedbackStore
from ._images import ImageRepository
from ._keyvalue import KeyValueStore
from ._lineage import Lineage
from ._persistence import Persistence
from ._retention import Retention, RetentionPolicies, RetentionReport
from ._sessions import SessionRepository
from ._storage import Meta, Storage
from ._sweeper import Sweeper
from ._threads import ThreadStats, ThreadStore
from ._work import DeadLetter, Job, WorkQueue

__all__ = [
    "ApprovalStore",
    "BlobStore",
    "CheckpointStore",
    "Claim",
    "ContainerRepository",
    "DeadLetter",
    "Event",
    "EventQueue",
    "FeedbackStore",
    "ImageRepository",
    "Job",
    "KeyValueStore",
    "Lineage",
    "Meta",
    "Persistence",
    "Recovered",
    "Retention",
    "RetentionPolicies",
    "RetentionReport",
    "SessionRepository",
    "Storage",
    "Sweeper",
    "ThreadStats",
    "ThreadStore",
    "WorkQueue",
]
