"""The errors of all server drivers, in the same words. `place` says which server it is."""

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
"""What client libraries, and code that parses their results, raise if a server sends nonsense."""

_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)


@contextmanager
def understood(place: str, client_errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Use around requests to what may not be the right kind of server: nonsense becomes an `UnavailableError`.

    A library's `client_errors` pass unchanged, although some of them are builtin errors too.
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
    """Return what a server or a client library says, for a message: shortened, without the arguments it repeats."""
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
    """The connection failed. After a lost answer (`sent`), the base class says what to do."""
    advice = "" if sent else ": check whether it is running, then retry"
    shown = quoted(error) or type(error).__name__
    return UnavailableError(f"{place} cannot be reached ({shown}){advice}", sent=sent)


def credentials_refused(place: str, said: object) -> ConfigurationError:
    """The server does not accept this user with this password."""
    return ConfigurationError(f"{place} refused the user or the password: check them in the URL ({quoted(said)})")
