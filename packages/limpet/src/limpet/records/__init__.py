"""The records that stores accept and return: pydantic models, no I/O."""

from ._approvals import ApprovalRecord, ClaimRecord
from ._base import Record, Timestamp, as_record, check_record, milliseconds, utc_now
from ._blobs import BlobRecord
from ._checkpoints import CheckpointRecord, PendingWrite
from ._entities import ContainerRecord, ImageRecord, SessionRecord
from ._messages import AssistantMessage, ErrorMessage, Message, ToolCallMessage, ToolResultMessage, UserMessage
from ._threads import FeedbackRecord, ThreadMessage, ThreadRecord

__all__ = [
    "ApprovalRecord",
    "AssistantMessage",
    "BlobRecord",
    "CheckpointRecord",
    "ClaimRecord",
    "ContainerRecord",
    "ErrorMessage",
    "FeedbackRecord",
    "ImageRecord",
    "Message",
    "PendingWrite",
    "Record",
    "SessionRecord",
    "ThreadMessage",
    "ThreadRecord",
    "Timestamp",
    "ToolCallMessage",
    "ToolResultMessage",
    "UserMessage",
    "as_record",
    "check_record",
    "milliseconds",
    "utc_now",
]
