"""The errors that every driver of a server raises, in the same words: `place` says which server it is."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from ..._errors import ConfigurationError, LimpetError, UnavailableError
from ..._secrets import without_frames

__all__ = [
    "NONSENSE",
    "credentials_refused",
    "no_connection_in_time",
    "quoted",
    "timed_out",
    "understood",
    "unreachable",
]

NONSENSE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What client libraries, and who reads what they gave, raise where a server makes no sense."""

_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)


@contextmanager
def understood(place: str, client_errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Around what is asked of a server that may be none: what no such server sends is an `UnavailableError`.

    `client_errors` of a library pass, although some of them are builtin ones too.
    """
    passing: tuple[type[Exception], ...] = (LimpetError, *client_errors)
    try:
        yield
    except passing:
        raise
    except NONSENSE as error:
        what = f"it sent what is not its protocol: {type(error).__name__}"
        raise unreachable(place, what) from without_frames(error)


def quoted(said: object) -> str:
    """What a server or a client library says, for a message: in short, and without the arguments that it repeats."""
    return _ARGUMENTS.sub("", str(said))[:500]


def timed_out(place: str, *, sent: bool = False) -> UnavailableError:
    """One call took too long."""
    return UnavailableError(f"{place} did not answer in time: raise 'timeout', or check its load", sent=sent)


def no_connection_in_time(place: str) -> UnavailableError:
    """A new connection took too long."""
    return UnavailableError(
        f"{place} did not answer a new connection in time: check the address and the server's load, or raise "
        "'connect_timeout'"
    )


def unreachable(place: str, error: object, *, sent: bool = False) -> UnavailableError:
    """The connection failed. After a lost answer (`sent`) the base class says what to do."""
    advice = "" if sent else ": check whether it is running, then retry"
    shown = quoted(error) or type(error).__name__
    return UnavailableError(f"{place} cannot be reached ({shown}){advice}", sent=sent)


def credentials_refused(place: str, said: object) -> ConfigurationError:
    """The server knows neither this user nor this password."""
    return ConfigurationError(f"{place} refused the user or the password: check them in the URL ({quoted(said)})")
