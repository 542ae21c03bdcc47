"""Translate pymongo's errors and the network's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError
from limpet import (
    ClosedError,
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)
from limpet.driver.kit import credentials_refused, timed_out, unreachable
from pymongo import errors

__all__ = ["ADVICE", "CLIENT_ERRORS", "DUPLICATE", "of_mongodb", "of_reply", "transient"]

CLIENT_ERRORS: tuple[type[Exception], ...] = (errors.PyMongoError, BSONError, OSError)
"""Everything that the client raises. A time-out is also an OSError."""

ADVICE = (
    "make the server a replica set of one node: start mongod with --replSet rs0, run rs.initiate() once in mongosh, "
    "and open the driver again"
)
"""What to do if batches are needed and the server is a standalone one."""

DUPLICATE = 11000

_CREDENTIALS = {11, 18, 8000}
_NO_RIGHTS = {13}
_NO_TRANSACTIONS = {20, 263}
_TOO_LARGE = {10334, 17280, 17419, 17420}
_NOT_PRIMARY = {10058, 10107, 13435}
"""The server refused before it did anything."""
_MAYBE_DONE = {6, 7, 50, 64, 89, 91, 189, 262, 9001, 11600, 11601, 11602}
"""Interrupted halfway: by a time-out, a shutdown, a new primary."""
_LOST_RACE = {112, 251}


def of_mongodb(error: Exception, place: str, *, sent: bool = False) -> LimpetError:
    """Return Limpet's error for a client error; `sent` if a write or a commit may have happened nevertheless."""
    if isinstance(error, errors.OperationFailure):
        says = error if isinstance(error, errors.WriteConcernError) else str(error).partition(", full error:")[0]
        return _of_code(error.code, says, place, sent)
    if isinstance(error, errors.NotPrimaryError):
        details: Any = error.details
        return _of_code(details.get("code", 11600) if isinstance(details, Mapping) else 11600, error, place, sent)
    if isinstance(error, errors.DocumentTooLarge):
        return TooLargeError(f"too large for {place} ({error}): store it in parts")
    if isinstance(error, BSONError):
        return CorruptDataError(
            f"{place}: a document cannot be read ({error}). It was left unchanged: restore a backup"
        )
    if isinstance(error, errors.ConfigurationError | errors.InvalidName | errors.CollectionInvalid):
        return ConfigurationError(f"{place} cannot be reached with these settings: {error}")
    if isinstance(error, errors.InvalidOperation):
        return ClosedError(f"{place}: the client cannot be used ({error}): pass an open client")
    if isinstance(error, errors.EncryptionError):
        return ConfigurationError(
            f"{place}: the client is set up to encrypt fields, but cannot ({error}): pass one that does not encrypt"
        )
    if isinstance(error, errors.WaitQueueTimeoutError):
        return UnavailableError(
            f"all connections to {place} stayed busy: raise 'pool_size', or check the server's load ({error})"
        )
    if isinstance(error, errors.ServerSelectionTimeoutError):
        return unreachable(place, _in_short(error))
    if isinstance(error, TimeoutError | errors.NetworkTimeout):
        return timed_out(place, sent=sent)
    sent = sent and not isinstance(error.__cause__, ConnectionRefusedError)
    return unreachable(place, error, sent=sent)


def _in_short(error: Exception) -> str:
    """Return which server said what, without the client's settings and its view of the servers."""
    return re.sub(r" \(configured timeouts: [^)]*\)", "", str(error).partition(", Timeout: ")[0])


def of_reply(said: Mapping[str, Any], place: str) -> LimpetError:
    """Return Limpet's error for one write in a reply: it was refused, and nothing was done."""
    return _of_code(said.get("code"), said.get("errmsg", "no reason given"), place, False)


def transient(error: Exception) -> bool:
    """Return whether a transaction ended without a trace, and can be run again."""
    labelled = isinstance(error, errors.PyMongoError) and error.has_error_label("TransientTransactionError")
    return labelled or (isinstance(error, errors.OperationFailure) and error.code in {*_LOST_RACE, DUPLICATE})


def _of_code(code: int | None, says: object, place: str, sent: bool) -> LimpetError:
    if code in _CREDENTIALS:
        return credentials_refused(place, says)
    if code in _NO_RIGHTS:
        return ReadOnlyError(f"{place} does not permit this user to do that: grant readWrite on the database ({says})")
    if code in _NO_TRANSACTIONS:
        return ConfigurationError(f"{place} has no transactions ({says}): {ADVICE}")
    if code in _TOO_LARGE:
        return TooLargeError(f"too large for {place} ({says}): store it in parts")
    if code == DUPLICATE or code in _LOST_RACE:
        return UnavailableError(f"{place}: a write lost a race ({says}): retry")
    if code in _NOT_PRIMARY:
        return UnavailableError(
            f"{place} is not the primary, or not yet ({says}): retry, or connect to the replica set"
        )
    if code in _MAYBE_DONE or isinstance(says, errors.WriteConcernError):
        return UnavailableError(f"{place} was interrupted ({says}): check its log, then retry", sent=sent)
    return UnavailableError(f"{place} refused a command ({says}): check its log, then retry")
