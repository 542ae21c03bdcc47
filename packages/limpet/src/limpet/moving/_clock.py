"""The backend's clock, asked once."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Self

from ..driver import Driver
from ..driver.kit import backend_now_ms

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Tells the backend's time without asking for it again."""

    began: int
    """Milliseconds since 1970."""
    began_here: float

    @classmethod
    async def of(cls, driver: Driver) -> Self:
        """Ask a driver for the time."""
        return cls(await backend_now_ms(driver), monotonic())

    def now(self) -> int:
        """Return the backend's time in milliseconds since 1970."""
        return self.began + round((monotonic() - self.began_here) * 1000)
