"""Floor 2, written once for every backend: documents with indexes, logs, leases, content in chunks."""

from ._attempt import Known, Plan, Repeated, attempt
from ._chunks import Chunks, Content, sweep_chunks
from ._codec import Codec, ModelCodec, TypeCodec, dump_record, load_record
from ._collection import Collection, RepairReport
from ._holding import Holding
from ._indexes import Index
from ._keyed_locks import changing
from ._lease import Grant, Lease
from ._listing import Listing, Page
from ._log import Entry, Log, LogCache, visible
from ._migrations import Migrations
from ._spilled import MAX_VALUE_BYTES, Spilled
from ._sweeping import SWEEP, marker, sweep_all, sweep_now

__all__ = [
    "MAX_VALUE_BYTES",
    "SWEEP",
    "Chunks",
    "Codec",
    "Collection",
    "Content",
    "Entry",
    "Grant",
    "Holding",
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
    "changing",
    "dump_record",
    "load_record",
    "marker",
    "sweep_all",
    "sweep_chunks",
    "sweep_now",
    "visible",
]
