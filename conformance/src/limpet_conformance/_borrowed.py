"""What an author gives so that the suite can test a driver on an application's own client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from limpet.driver import Driver

__all__ = ["Borrowed"]


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A client that belongs to the application, and drivers on it."""

    make: Callable[[], Driver]
    """Another driver on this client, not open yet."""
    still_works: Callable[[], Awaitable[object]]
    """The application uses its client: raises whatever the client raises once somebody has closed it."""
    settings: Mapping[str, Callable[[], Driver]] = field(default_factory=dict)
    """By the name of a setting that changes results (`decode_responses`): a driver on a client that has it."""
