"""What the stores take and give: pydantic models, no IO."""

from ._approvals import ApprovalRecord, ClaimRecord
from ._base import Record, Timestamp, as_record, utc_now
from ._blobs import BlobRecord
from ._entities import ContainerRecord, ImageRecord, SessionRecord
from ._messages import AssistantMessage, ErrorMessage, Message, ToolCallMessage, ToolResultMessage, UserMessage

__all__ = [
    "ApprovalRecord",
    "AssistantMessage",
    "BlobRecord",
    "ClaimRecord",
    "ContainerRecord",
    "ErrorMessage",
    "ImageRecord",
    "Message",
    "Record",
    "SessionRecord",
    "Timestamp",
    "ToolCallMessage",
    "ToolResultMessage",
    "UserMessage",
    "as_record",
    "utc_now",
]
