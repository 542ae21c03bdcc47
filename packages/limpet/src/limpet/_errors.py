"""Every error that Limpet raises, in one tree.

    LimpetError
    ├── ConfigurationError (ValueError)        a URL, an option or a profile cannot be used
    │   ├── DriverNotFoundError (LookupError)  no installed package serves this URL scheme
    │   └── PluginError                        an installed plug-in or driver cannot be used
    ├── InvalidKeyError (ValueError)           a key or one of its segments
    ├── InvalidValueError (ValueError)         a value, a record, a time to live
    ├── InvalidCursorError (ValueError)        a cursor of another query, or a damaged one
    ├── TooLargeError (ValueError)             beyond a limit of the driver
    ├── EventsLostError (LookupError)          a reader of events fell too far behind
    ├── NotFoundError (KeyError)               something that must exist does not
    ├── ConflictError                          a condition did not hold: nothing was written
    │   └── AlreadyClaimedError                someone else claimed the approval first
    ├── OutcomeUnknownError (ConnectionError)  no answer arrived: written once or not at all
    ├── UnavailableError (ConnectionError)     the backend cannot be reached: worth a retry
    ├── UnsupportedError (NotImplementedError) the driver does not declare this capability
    ├── ReadOnlyError (PermissionError)        opened for reading only
    ├── CorruptDataError (ValueError)          what is stored cannot be read
    │   ├── FormatError                        written by a newer release, or by another program
    │   └── WrongStackError                    opened without the wrappers that wrote it
    ├── WrongKeyError (PermissionError)        the encryption key is not the one that wrote it
    ├── LeaseLostError                         the lease ended while its holder still used it
    ├── LeaseTimeoutError (TimeoutError)       someone else held the lease for too long
    ├── NestedLeaseError (RuntimeError)        a task that holds a lease asked for it again
    ├── ClosedError (RuntimeError)             used after close, or before open
    ├── ForeignLoopError (RuntimeError)        used on a different event loop
    └── ForkedError (RuntimeError)             used in a child of the process that opened it

Where Python has a fitting builtin exception, the error is one of those too. The message says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

    from .driver._types import Item

__all__ = [
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
    "LimpetError",
    "InvalidCursorError",
    "InvalidKeyError",
    "InvalidValueError",
    "LeaseLostError",
    "LeaseTimeoutError",
    "NestedLeaseError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PluginError",
    "ReadOnlyError",
    "TooLargeError",
    "UnavailableError",
    "UnsupportedError",
    "WrongKeyError",
    "WrongStackError",
    "explain",
]


def explain(error: ValidationError) -> str:
    """What pydantic found, in one line: each location with its error."""
    found = [
        (".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_url=False, include_input=False)
    ]
    return "; ".join(f"{place}: {message}" if place else message for place, message in found)


_LONGEST = 2000
"""Characters of an error's text: what it quotes may come from anybody."""
_KEPT = (1500, 400)


class LimpetError(Exception):
    """The base of every error that Limpet raises. Its text has at most 2,000 characters: the middle of a longer one is cut out."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(_cut(each) if isinstance(each, str) else each for each in args))

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return Exception.__str__(self)


def _cut(text: str) -> str:
    start, end = _KEPT
    return text if len(text) <= _LONGEST else f"{text[:start]} [...] {text[-end:]}"


class ConfigurationError(LimpetError, ValueError):
    """A URL, an option or a profile is invalid."""


class DriverNotFoundError(ConfigurationError, LookupError):
    """No installed package handles this URL scheme; the message names the extra to install."""


class PluginError(ConfigurationError):
    """An installed plug-in or driver cannot be used: it fails on import, registers something invalid, or two claim one scheme.

    `distribution` and `entry_point` name it; the cause is whatever its import or its hook raised.
    """

    def __init__(self, message: str = "", *, distribution: str = "", entry_point: str = "") -> None:
        super().__init__(message)
        self.distribution: str = distribution
        self.entry_point: str = entry_point


class InvalidKeyError(LimpetError, ValueError):
    """A key or a segment breaks the key rules: empty, too long, a lone surrogate, not encoded."""


class InvalidValueError(LimpetError, ValueError):
    """A value, a record or a time to live that cannot be stored."""


class InvalidCursorError(LimpetError, ValueError):
    """A cursor belongs to another query, or was damaged in transit."""


class TooLargeError(LimpetError, ValueError):
    """Something is beyond a limit of the driver; nothing was written."""


class EventsLostError(LimpetError, LookupError):
    """A reader of events fell too far behind: `lost` events are gone. Continue after the cursor `resume`."""

    def __init__(self, channel: str, *, lost: int, resume: str) -> None:
        self.channel: str = channel
        self.lost: int = lost
        self.resume: str = resume
        super().__init__(
            f"{lost} events of the channel {channel!r} were deleted before they were read: continue after {resume!r}, and keep "
            "more events or read more often"
        )


class NotFoundError(LimpetError, KeyError):
    """Something that must exist does not."""


class ConflictError(LimpetError):
    """A condition did not hold, so the whole batch was refused and nothing was written.

    `items` maps each key whose condition failed to what is there now: an `Item`, or `None` for nothing.
    At least one key is named. A key that failed but whose item would have made the error larger than
    1 MiB is in `keys` and not in `items`.
    """

    def __init__(
        self, message: str = "", *, keys: tuple[str, ...] = (), items: Mapping[str, Item | None] | None = None
    ) -> None:
        self.items: Mapping[str, Item | None] = dict(items or {})
        self.keys: tuple[str, ...] = keys or tuple(self.items)
        named = ", ".join(repr(key) for key in self.keys[:3]) + (", ..." if len(self.keys) > 3 else "")
        super().__init__(message or f"someone else changed {named}: read again and retry")


class AlreadyClaimedError(ConflictError):
    """Someone else claimed an approval first: `by` says who, `decision` how, `decided` whether it is final."""

    def __init__(self, id: str, *, by: str, decision: str, decided: bool) -> None:
        self.by: str = by
        self.decision: str = decision
        self.decided: bool = decided
        super().__init__(
            f"{by} claimed the approval {id!r} to {decision} it, and has {'done so' if decided else 'it for now'}"
        )


class OutcomeUnknownError(LimpetError, ConnectionError):
    """No answer to a write arrived: it was applied once or not at all, possibly a moment later.

    Read back what you wrote before you write it again.
    """


class UnavailableError(LimpetError, ConnectionError):
    """The backend cannot be reached or refuses work for now. Nothing was written: retry when it is back.

    Inside a driver, `sent=True` says that the request had left when the connection failed. The base class
    turns that into `OutcomeUnknownError` for a write that it can neither prove nor repeat safely.
    """

    def __init__(self, message: str = "", *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class UnsupportedError(LimpetError, NotImplementedError):
    """The driver does not declare the capability that this call needs."""


class ReadOnlyError(LimpetError, PermissionError):
    """A write through something that was opened read-only."""


class CorruptDataError(LimpetError, ValueError):
    """What is stored cannot be read. Nothing was changed or moved away.

    `key` is the key of the item, where one is to blame. `cursor` is how a reader of events goes on behind it.
    """

    def __init__(self, message: str = "", *, key: str | None = None, cursor: str | None = None) -> None:
        super().__init__(message)
        self.key: str | None = key
        self.cursor: str | None = cursor


class FormatError(CorruptDataError):
    """The place was written by a newer release, or by another program."""


class WrongStackError(CorruptDataError):
    """The place was written through wrappers (encryption, compression) that this opening lacks, or the reverse."""


class WrongKeyError(LimpetError, PermissionError):
    """The encryption key is not the one that wrote this place."""


class LeaseLostError(LimpetError):
    """The lease expired or was taken over while its holder still used it; protected writes are refused."""


class LeaseTimeoutError(LimpetError, TimeoutError):
    """Someone else held the lease for longer than the caller was willing to wait."""


class NestedLeaseError(LimpetError, RuntimeError):
    """A task that holds a lease asked for it again, and would have waited for itself: use the one it has."""


class ClosedError(LimpetError, RuntimeError):
    """Used after `close`, or before `open`."""


class ForeignLoopError(LimpetError, RuntimeError):
    """Used on a different event loop than it was opened on, or synchronously on the loop that it would wait for.

    Open one per event loop, or use `open_persistence`, which works on any of them.
    """


class ForkedError(LimpetError, RuntimeError):
    """Opened before a fork and used in the child process; open one per process."""
