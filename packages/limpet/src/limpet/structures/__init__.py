"""Floor 2, written once for every backend: documents with indexes, logs, leases, content in chunks."""

from ._codec import Codec, ModelCodec, TypeCodec, dump_record, load_record
from ._counter import Counter
from ._keyed_locks import changing
from ._listing import Listing, Page
from ._migrations import Migrations
from ._transact import Plan, ReadSet, Repeated, transact
from .blobs import MAX_VALUE_BYTES, Chunks, Content, Spilled, sweep_chunks
from .collection import Collection, Index, RepairReport
from .lease import Grant, Held, Holding, Lease
from .log import SWEEP, Entry, Log, LogCache, marker, sweep_all, sweep_now, visible

__all__ = [
    "MAX_VALUE_BYTES",
    "SWEEP",
    "Chunks",
    "Codec",
    "Collection",
    "Content",
    "Counter",
    "Entry",
    "Grant",
    "Held",
    "Holding",
    "Index",
    "Lease",
    "Listing",
    "Log",
    "LogCache",
    "Migrations",
    "ModelCodec",
    "Page",
    "Plan",
    "ReadSet",
    "RepairReport",
    "Repeated",
    "Spilled",
    "TypeCodec",
    "changing",
    "dump_record",
    "load_record",
    "marker",
    "sweep_all",
    "sweep_chunks",
    "sweep_now",
    "transact",
    "visible",
]
