"""Floor 1, what a backend author imports: the contract, the base class, and the driver in memory."""

from ._base import BaseDriver
from ._capabilities import Capabilities
from ._clock import host_now_ms
from ._connections import Connections
from ._driver import Driver
from ._file_lock import FileLock
from ._hints import Hearing, hints
from ._judge import Judgement, Record, judge, needed
from ._keys import MAX_KEY_BYTES, check_key, is_number, key, name, number, split, text, text_of
from ._memory import MemoryDriver
from ._new_files import give_to_owner, new_file_mode, new_folder_mode
from ._paging import below, between, collect
from ._rounds import Changes, LostRaceError, changes, on_connection, plain_puts, rounds
from ._sorted_keys import SortedKeys
from ._tls import distrust, tls_context
from ._types import (
    KEEP,
    Append,
    Batch,
    Check,
    Delete,
    Etag,
    Health,
    If,
    Item,
    Key,
    Page,
    Put,
    Value,
    Verdict,
    Work,
    Write,
    new_etag,
)
from ._values import from_bytes, size_of, to_bytes
from ._worker import Worker

__all__ = [
    "KEEP",
    "MAX_KEY_BYTES",
    "Append",
    "BaseDriver",
    "Batch",
    "Capabilities",
    "Changes",
    "Check",
    "Connections",
    "Delete",
    "Driver",
    "Etag",
    "FileLock",
    "Health",
    "Hearing",
    "If",
    "Item",
    "Judgement",
    "Key",
    "LostRaceError",
    "MemoryDriver",
    "Page",
    "Put",
    "Record",
    "SortedKeys",
    "Value",
    "Verdict",
    "Work",
    "Worker",
    "Write",
    "below",
    "between",
    "changes",
    "check_key",
    "collect",
    "distrust",
    "from_bytes",
    "give_to_owner",
    "hints",
    "host_now_ms",
    "is_number",
    "judge",
    "key",
    "name",
    "needed",
    "new_etag",
    "new_file_mode",
    "new_folder_mode",
    "number",
    "on_connection",
    "plain_puts",
    "rounds",
    "size_of",
    "split",
    "text",
    "text_of",
    "tls_context",
    "to_bytes",
]
