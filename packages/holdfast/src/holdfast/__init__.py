"""Persistence for AI agents on whatever database you already run."""

from ._create import create_persistence, create_persistence_from_env, create_storage
from ._errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    DriverNotFoundError,
    ForeignLoopError,
    FormatError,
    HoldfastError,
    InvalidCursorError,
    InvalidKeyError,
    InvalidValueError,
    LeaseLostError,
    LeaseTimeoutError,
    NestedLeaseError,
    NotFoundError,
    OutcomeUnknownError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
    WrongKeyError,
    WrongStackError,
)
from .stores import Persistence, Storage
from .structures import Listing, Page

createPersistence = create_persistence

__all__ = [
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "CorruptDataError",
    "DriverNotFoundError",
    "ForeignLoopError",
    "FormatError",
    "HoldfastError",
    "InvalidCursorError",
    "InvalidKeyError",
    "InvalidValueError",
    "LeaseLostError",
    "LeaseTimeoutError",
    "Listing",
    "NestedLeaseError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Page",
    "Persistence",
    "ReadOnlyError",
    "Storage",
    "TooLargeError",
    "UnavailableError",
    "UnsupportedError",
    "WrongKeyError",
    "WrongStackError",
    "createPersistence",
    "create_persistence",
    "create_persistence_from_env",
    "create_storage",
]
