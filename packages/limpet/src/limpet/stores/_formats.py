"""The current version of everything that the stores keep, and the steps to it from every earlier version.

To change what is stored, add a new version here, its step, and a fixture of the old version in `tests/formats/`.
"""

from __future__ import annotations

from ..structures import Migrations

__all__ = [
    "APPROVAL",
    "BLOB",
    "CHECKPOINT",
    "CHECKPOINT_NAMESPACE",
    "CLAIMED_JOB",
    "CONTAINER",
    "EVENT",
    "FEEDBACK",
    "FORMATS",
    "IMAGE",
    "JOB",
    "MESSAGE",
    "PENDING_WRITE",
    "SESSION",
    "THREAD",
    "THREAD_MESSAGE",
]

APPROVAL = Migrations()
BLOB = Migrations()
CHECKPOINT = Migrations()
CHECKPOINT_NAMESPACE = Migrations()
"""Names the latest checkpoint of a namespace."""
CLAIMED_JOB = Migrations()
"""A claimed job, or a dead letter."""
CONTAINER = Migrations()
EVENT = Migrations()
FEEDBACK = Migrations()
IMAGE = Migrations()
JOB = Migrations()
MESSAGE = Migrations()
"""The messages of sessions."""
PENDING_WRITE = Migrations()
SESSION = Migrations()
THREAD = Migrations()
THREAD_MESSAGE = Migrations()

FORMATS = {
    "approval": APPROVAL,
    "blob": BLOB,
    "checkpoint": CHECKPOINT,
    "checkpoint namespace": CHECKPOINT_NAMESPACE,
    "claimed job": CLAIMED_JOB,
    "container": CONTAINER,
    "event": EVENT,
    "feedback": FEEDBACK,
    "image": IMAGE,
    "job": JOB,
    "message": MESSAGE,
    "pending write": PENDING_WRITE,
    "session": SESSION,
    "thread": THREAD,
    "thread message": THREAD_MESSAGE,
}
"""By kind of record: the current version, and the steps to it."""
