"""Floor 2, written once for every backend: documents with indexes, logs, leases, content in chunks."""

from ._attempt import Known, Plan, Repeated, attempt
from ._chunks import Chunks, Content, sweep_chunks
from ._codec import Codec, ModelCodec, TypeCodec
from ._collection import Collection, RepairReport
from ._indexes import Index
from ._lease import Grant, Lease
from ._listing import Listing, Page
from ._log import Entry, Log, LogCache
from ._migrations import Migrations
from ._spilled import MAX_VALUE_BYTES, Spilled
from ._sweeping import SWEEP, sweep_all, sweep_now

__all__ = [
    "MAX_VALUE_BYTES",
    "SWEEP",
    "Chunks",
    "Codec",
    "Collection",
    "Content",
    "Entry",
    "Grant",
    "Index",
    "Known",
    "Lease",
    "Listing",
    "Log",
    "LogCache",
    "Migrations",
    "ModelCodec",
    "Page",
    "Plan",
    "RepairReport",
    "Repeated",
    "Spilled",
    "TypeCodec",
    "attempt",
    "sweep_all",
    "sweep_chunks",
    "sweep_now",
]
