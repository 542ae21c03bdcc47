"""Containers, images, sessions, threads and their messages. Internal to this floor; import from `limpet.stores`."""

from ._containers import ContainerRepository
from ._feedback import FeedbackStore
from ._images import ImageRepository
from ._lineage import Lineage
from ._sessions import SessionRepository
from ._thread_messages import NewThread
from ._threads import ThreadStats, ThreadStore

__all__ = [
    "ContainerRepository",
    "FeedbackStore",
    "ImageRepository",
    "Lineage",
    "NewThread",
    "SessionRepository",
    "ThreadStats",
    "ThreadStore",
]
