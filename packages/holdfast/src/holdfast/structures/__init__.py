"""Floor 2, written once for every backend: documents with indexes, logs, leases."""

from ._attempt import Known, Plan, Repeated, attempt
from ._codec import Codec, ModelCodec, TypeCodec
from ._collection import Collection, RepairReport
from ._indexes import Index
from ._lease import Grant, Lease
from ._listing import Listing, Page
from ._log import Entry, Log, LogCache
from ._migrations import Migrations
from ._sweeping import SWEEP, sweep_all, sweep_now

__all__ = [
    "SWEEP",
    "Codec",
    "Collection",
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
    "TypeCodec",
    "attempt",
    "sweep_all",
    "sweep_now",
]
