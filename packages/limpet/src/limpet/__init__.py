"""Persistence for AI agents on whatever database you already run."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _printable as _printable  # from here on, no log of ours moves a cursor
from ._create import create_persistence, create_persistence_from_env, create_storage
from ._errors import (
    AlreadyClaimedError,
    ClosedError,
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    DriverNotFoundError,
    EventsLostError,
    ForeignLoopError,
    ForkedError,
    FormatError,
    InvalidCursorError,
    InvalidKeyError,
    InvalidValueError,
    LeaseLostError,
    LeaseTimeoutError,
    LimpetError,
    NestedLeaseError,
    NotFoundError,
    OutcomeUnknownError,
    PluginError,
    ReadOnlyError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
    WrongKeyError,
    WrongStackError,
)
from ._lazy import lazy

if TYPE_CHECKING:
    from ._anywhere import SharedPersistence, open_persistence, open_persistence_from_env, open_storage
    from ._filters import ALL
    from .stores import Persistence, Storage
    from .structures import Listing, Page

__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "ALL": "._filters",
        "Listing": ".structures",
        "Page": ".structures",
        "Persistence": ".stores",
        "SharedPersistence": "._anywhere",
        "Storage": ".stores",
        "open_persistence": "._anywhere",
        "open_persistence_from_env": "._anywhere",
        "open_storage": "._anywhere",
    },
    modules=[
        "driver",
        "events",
        "moving",
        "opening",
        "plugins",
        "profiles",
        "records",
        "state",
        "stores",
        "structures",
        "sync",
        "wrappers",
    ],
)
createPersistence = create_persistence

__all__ = [
    "ALL",
    "AlreadyClaimedError",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "CorruptDataError",
    "DriverNotFoundError",
    "EventsLostError",
    "ForeignLoopError",
    "ForkedError",
    "FormatError",
    "InvalidCursorError",
    "InvalidKeyError",
    "InvalidValueError",
    "LeaseLostError",
    "LeaseTimeoutError",
    "LimpetError",
    "Listing",
    "NestedLeaseError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Page",
    "Persistence",
    "PluginError",
    "ReadOnlyError",
    "SharedPersistence",
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
    "open_persistence",
    "open_persistence_from_env",
    "open_storage",
]
