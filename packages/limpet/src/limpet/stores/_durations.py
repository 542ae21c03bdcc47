"""Convert durations from seconds or timedeltas to the milliseconds that drivers take."""

from __future__ import annotations

from datetime import timedelta

from .._errors import InvalidValueError

__all__ = ["duration_to_ms", "ttl_to_ms"]


def ttl_to_ms(ttl: float | timedelta | None) -> int | None:
    """Return a time to live in milliseconds; `None` if it does not end. Raises `InvalidValueError`."""
    return None if ttl is None else duration_to_ms(ttl)


def duration_to_ms(time: float | timedelta, called: str = "ttl") -> int:
    """Return a duration in milliseconds, at least one. Raises `InvalidValueError`, which names the duration."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidValueError(f"{called} is {time!r}: pass more than 0 seconds, as a number or a timedelta")
    if seconds >= 1e11:
        raise InvalidValueError(f"{called} is {time!r}: pass less than 100,000,000,000 seconds (about 3,000 years)")
    return max(1, round(seconds * 1000))
