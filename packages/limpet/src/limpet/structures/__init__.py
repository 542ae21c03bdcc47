"""The second floor, written once for all backends: documents with indexes, logs, leases, content in chunks."""

from ._afterwards import afterwards, written
from ._codec import Codec, ModelCodec, TypeCodec, dump_record, load_record
from ._counter import Counter
from ._cursors import KeysBelow, Numbers, Positions
from ._garbage_collection import collect_garbage
from ._keyed_locks import changing
from ._listing import Fetch, Listing, Page
from ._migrations import Migrations
from ._once import Receipt, Repeated
from ._reading import get_each, log_skipped, scan_all_each, scan_each
from ._transact import COUNTER_TTL_MS, BatchPart, Plan, ReadSet, transact
from ._versions import load_object, load_value, migrated_object, stamp_object, stamp_value
from .blobs import MAX_VALUE_BYTES, Chunks, Content, OutOfLine, collect_chunks, collect_chunks_below, content_driver
from .collection import Collection, Index, RepairReport
from .lease import ClaimedItem, Lease, LeaseHandle, OwnedItem
from .log import GARBAGE, Entry, Log, LogCache, collect_now, garbage_record, visible

__all__ = [
    "COUNTER_TTL_MS",
    "GARBAGE",
    "MAX_VALUE_BYTES",
    "BatchPart",
    "Chunks",
    "ClaimedItem",
    "Codec",
    "Collection",
    "Content",
    "Counter",
    "Entry",
    "Fetch",
    "Index",
    "KeysBelow",
    "Lease",
    "LeaseHandle",
    "Listing",
    "Log",
    "LogCache",
    "Migrations",
    "ModelCodec",
    "Numbers",
    "OutOfLine",
    "OwnedItem",
    "Page",
    "Plan",
    "Positions",
    "ReadSet",
    "Receipt",
    "RepairReport",
    "Repeated",
    "TypeCodec",
    "afterwards",
    "changing",
    "collect_chunks",
    "collect_chunks_below",
    "collect_garbage",
    "collect_now",
    "content_driver",
    "dump_record",
    "garbage_record",
    "get_each",
    "load_object",
    "load_record",
    "load_value",
    "log_skipped",
    "migrated_object",
    "scan_all_each",
    "scan_each",
    "stamp_object",
    "stamp_value",
    "transact",
    "visible",
    "written",
]
