"""The errors that every driver of a server raises, in the same words: `place` says which server it is."""

from __future__ import annotations

from ..._errors import ConfigurationError, UnavailableError

__all__ = ["credentials_refused", "no_connection_in_time", "timed_out", "unreachable"]


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
    shown = str(error) or type(error).__name__
    return UnavailableError(f"{place} cannot be reached ({shown}){advice}", sent=sent)


def credentials_refused(place: str, said: object) -> ConfigurationError:
    """The server knows neither this user nor this password."""
    return ConfigurationError(f"{place} refused the user or the password: check them in the URL ({said})")
