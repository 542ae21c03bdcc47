"""Floor 3, what applications call. For annotations: the objects come from `create_persistence` and `create_storage`."""

from ._containers import ContainerRepository
from ._images import ImageRepository
from ._keyvalue import KeyValueStore
from ._persistence import Persistence
from ._sessions import SessionRepository
from ._storage import Meta, Storage

__all__ = [
    "ContainerRepository",
    "ImageRepository",
    "KeyValueStore",
    "Meta",
    "Persistence",
    "SessionRepository",
    "Storage",
]
