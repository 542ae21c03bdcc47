"""The third floor: what applications call.

Use it for annotations; `create_persistence` and `create_storage` make the objects.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._lazy import lazy

if TYPE_CHECKING:
    from ._formats import FORMATS
    from ._persistence import Persistence
    from .approvals import ApprovalStore, Claim
    from .checkpoints import CheckpointStore
    from .conversations import (
        ContainerRepository,
        FeedbackStore,
        ImageRepository,
        Lineage,
        NewThread,
        SessionRepository,
        ThreadStats,
        ThreadStore,
    )
    from .queues import DeadLetter, Event, EventQueue, Job, Recovered, WorkQueue
    from .records import KeyValueEntry, KeyValueStore, KeyValueTree, NewEntry
    from .storage import BlobStore, Meta, Storage
    from .upkeep import Retention, RetentionPolicies, RetentionReport, Upkeep

__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "ApprovalStore": ".approvals",
        "BlobStore": ".storage",
        "CheckpointStore": ".checkpoints",
        "Claim": ".approvals",
        "ContainerRepository": ".conversations",
        "DeadLetter": ".queues",
        "Event": ".queues",
        "EventQueue": ".queues",
        "FORMATS": "._formats",
        "FeedbackStore": ".conversations",
        "ImageRepository": ".conversations",
        "Job": ".queues",
        "KeyValueEntry": ".records",
        "KeyValueStore": ".records",
        "KeyValueTree": ".records",
        "Lineage": ".conversations",
        "Meta": ".storage",
        "NewEntry": ".records",
        "Persistence": "._persistence",
        "Recovered": ".queues",
        "Retention": ".upkeep",
        "RetentionPolicies": ".upkeep",
        "RetentionReport": ".upkeep",
        "SessionRepository": ".conversations",
        "Storage": ".storage",
        "NewThread": ".conversations",
        "ThreadStats": ".conversations",
        "ThreadStore": ".conversations",
        "Upkeep": ".upkeep",
        "WorkQueue": ".queues",
    },
)

__all__ = [
    "FORMATS",
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
    "KeyValueEntry",
    "KeyValueStore",
    "KeyValueTree",
    "Lineage",
    "Meta",
    "NewEntry",
    "NewThread",
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
