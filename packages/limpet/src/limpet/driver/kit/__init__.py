"""What authors of drivers and wrappers use to fulfil the contract."""

from ..._secrets import SecretText, SecretUrl, hidden, hide_password, without_frames
from ._base import BaseDriver
from ._clock import backend_now_ms, host_now_ms
from ._connections import Connections
from ._defaults import append_by_compare_and_set, backoff, scan_all, scan_pages
from ._evaluate import Evaluation, Record, counter_value, evaluate, keys_to_read
from ._file_lock import FileLock
from ._forks import Inherited, check_process, descriptor_of, forked_since, hang_up
from ._new_files import give_to_owner, new_file_mode, new_folder_mode
from ._notifications import Subscription, notifications
from ._options import (
    Url,
    check_counts,
    check_seconds,
    keywords,
    option_types,
    parse_server_url,
    parse_url,
    read_options,
)
from ._owner import Owner
from ._paging import below, between, to_page
from ._retry import RowChanges, SerializationFailure, on_connection, retry_transaction, row_changes, unconditional_puts
from ._sentences import NONSENSE, credentials_refused, no_connection_in_time, quoted, timed_out, understood, unreachable
from ._server import ServerClient, ServerDriver
from ._sorted_keys import SortedKeys
from ._sql import SqlClient, SqlCommands, SqlDriver
from ._tls import tls_context, tls_failure_reason
from ._validation import validate_base, validate_get, validate_range, validate_unit
from ._values import from_bytes, size_of, to_bytes
from ._worker import Worker

__all__ = [
    "NONSENSE",
    "quoted",
    "understood",
    "without_frames",
    "hidden",
    "SecretUrl",
    "SecretText",
    "BaseDriver",
    "Connections",
    "Evaluation",
    "FileLock",
    "Inherited",
    "Owner",
    "Record",
    "RowChanges",
    "SerializationFailure",
    "ServerClient",
    "ServerDriver",
    "SortedKeys",
    "SqlClient",
    "SqlCommands",
    "SqlDriver",
    "Subscription",
    "Url",
    "Worker",
    "append_by_compare_and_set",
    "backend_now_ms",
    "backoff",
    "below",
    "between",
    "check_counts",
    "check_process",
    "check_seconds",
    "counter_value",
    "credentials_refused",
    "descriptor_of",
    "evaluate",
    "forked_since",
    "from_bytes",
    "give_to_owner",
    "hang_up",
    "hide_password",
    "host_now_ms",
    "keys_to_read",
    "keywords",
    "new_file_mode",
    "new_folder_mode",
    "no_connection_in_time",
    "notifications",
    "on_connection",
    "option_types",
    "parse_server_url",
    "parse_url",
    "read_options",
    "retry_transaction",
    "row_changes",
    "scan_all",
    "scan_pages",
    "size_of",
    "timed_out",
    "tls_context",
    "tls_failure_reason",
    "to_bytes",
    "to_page",
    "unconditional_puts",
    "unreachable",
    "validate_base",
    "validate_get",
    "validate_range",
    "validate_unit",
]
