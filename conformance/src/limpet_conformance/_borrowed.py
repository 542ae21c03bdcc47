"""What an author provides so that the suite can test a driver on an application's own client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from limpet.driver import Driver

__all__ = ["Borrowed"]


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A client that belongs to the application, and drivers on it."""

    make: Callable[[], Driver]
    """Return another driver on this client, not open yet."""
    still_works: Callable[[], Awaitable[object]]
    """Use the client as the application does. Raises the client's error if the client was closed."""
    settings: Mapping[str, Callable[[], Driver]] = field(default_factory=dict)
    """By name, settings that change results (such as `decode_responses`): a driver on a client with that setting."""
