"""Floor 3, what applications call. For annotations: the objects come from `create_persistence` and `create_storage`."""

from ._persistence import Persistence
from .approvals import ApprovalStore, Claim
from .checkpoints import CheckpointStore
from .conversations import (
    ContainerRepository,
    FeedbackStore,
    ImageRepository,
    Lineage,
    SessionRepository,
    ThreadStats,
    ThreadStore,
)
from .queues import DeadLetter, Event, EventQueue, Job, Recovered, WorkQueue
from .records import KeyValueStore
from .storage import BlobStore, Meta, Storage
from .upkeep import Retention, RetentionPolicies, RetentionReport, Upkeep

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
    "ThreadStats",
    "ThreadStore",
    "Upkeep",
    "WorkQueue",
]
