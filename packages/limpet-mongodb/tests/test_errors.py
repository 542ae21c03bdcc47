"""Every error of pymongo and of the network becomes one of ours."""

from __future__ import annotations

import bson.errors
import pytest
from limpet import (
    ClosedError,
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
)
from limpet_drivers.mongodb._errors import CLIENT_ERRORS, of_mongodb, transient
from pymongo import errors

ERRORS = sorted(
    {
        found
        for module in (errors, bson.errors)
        for name in dir(module)
        if isinstance(found := getattr(module, name), type)
        and issubclass(found, Exception)
        and not issubclass(found, Warning)
    },
    key=lambda found: found.__name__,
)
"""Every exception that the client library has."""


def made(kind: type[Exception]) -> Exception:
    if issubclass(kind, errors.BulkWriteError):
        return kind({})
    if issubclass(kind, errors.ClientBulkWriteException):
        return kind({}, False)
    if issubclass(kind, errors.EncryptedCollectionError):
        return kind(ValueError("what went wrong"), {})
    if issubclass(kind, errors.EncryptionError):
        return kind(ValueError("what went wrong"))
    return kind("what the server says")


def named(value: object) -> str:
    """Of an error its kind and its code."""
    details = getattr(value, "details", None)
    code = getattr(value, "code", None) or (details.get("code") if isinstance(details, dict) else None)
    kind = value.__name__ if isinstance(value, type) else type(value).__name__
    return kind if code is None else f"{kind}-{code}"


def said(code: int) -> errors.OperationFailure:
    return errors.OperationFailure("what the server says", code)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_has_one_of_ours(kind: type[Exception]) -> None:
    error = made(kind)
    assert isinstance(error, CLIENT_ERRORS), f"{kind.__name__} would reach the caller as it is"
    ours = of_mongodb(error, "the place")
    assert "the place" in str(ours)
    assert len(str(ours)) > len("the place") + 20, "it says what to do"


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (said(18), ConfigurationError),
        (said(13), ReadOnlyError),
        (said(20), ConfigurationError),
        (said(10334), TooLargeError),
        (errors.DocumentTooLarge("17 MiB"), TooLargeError),
        (errors.InvalidURI("what is that"), ConfigurationError),
        (errors.ConfigurationError("unknown option"), ConfigurationError),
        (errors.InvalidOperation("Cannot use AsyncMongoClient after close"), ClosedError),
        (bson.errors.InvalidBSON("bad"), CorruptDataError),
        (errors.ServerSelectionTimeoutError("nobody"), UnavailableError),
        (errors.NotPrimaryError("not primary", {"code": 10107}), UnavailableError),
        (said(14031), UnavailableError),
    ],
    ids=named,
)
def test_the_common_ones(error: Exception, ours: type[LimpetError]) -> None:
    assert type(of_mongodb(error, "the place")) is ours


def test_who_needs_transactions_is_told_how_to_have_them() -> None:
    error = said(20)
    assert "--replSet" in str(of_mongodb(error, "the place"))


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (errors.AutoReconnect("connection closed"), True),
        (errors.NetworkTimeout("timed out"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError(), True),
        (said(50), True),
        (said(11600), True),
        (errors.WriteConcernError("no majority", 64), True),
        (errors.NotPrimaryError("stepped down", {"code": 189}), True),
        (errors.NotPrimaryError("not primary", {"code": 10107}), False),
        (errors.ServerSelectionTimeoutError("nobody"), False),
        (errors.WaitQueueTimeoutError("busy"), False),
        (said(14031), False),
    ],
    ids=named,
)
def test_whether_a_write_may_have_happened(error: Exception, unknown: bool) -> None:
    ours = of_mongodb(error, "the place", sent=True)
    assert isinstance(ours, UnavailableError)
    assert ours.sent is unknown
    before = of_mongodb(error, "the place", sent=False)
    assert isinstance(before, UnavailableError)
    assert not before.sent


def test_a_connection_that_was_refused_sent_nothing() -> None:
    error = errors.AutoReconnect("refused")
    error.__cause__ = ConnectionRefusedError("refused")
    ours = of_mongodb(error, "the place", sent=True)
    assert isinstance(ours, UnavailableError)
    assert not ours.sent


def test_which_transactions_are_played_again() -> None:
    labelled = errors.OperationFailure("write conflict", 112, {"errorLabels": ["TransientTransactionError"]})
    unknown = errors.OperationFailure("who knows", 50, {"errorLabels": ["UnknownTransactionCommitResult"]})
    assert transient(labelled)
    assert transient(said(112))
    assert not transient(unknown)
    assert not transient(TimeoutError())


def test_what_to_do_about_a_lost_answer_is_said_further_up() -> None:
    error = errors.AutoReconnect("connection closed")
    assert str(of_mongodb(error, "the place")).endswith("check whether it is running, then retry")
    assert "retry" not in str(of_mongodb(error, "the place", sent=True))


def test_no_document_is_quoted() -> None:
    said = {"code": 121, "errmsg": "Document failed validation", "errInfo": {"consideredValue": "SECRET"}}
    ours = of_mongodb(errors.OperationFailure("Document failed validation", 121, said), "MongoDB at h")
    assert "SECRET" not in str(ours)
    assert "failed validation" in str(ours)
