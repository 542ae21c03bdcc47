"""Whose clock decides: the host's for embedded drivers, the backend's for everything above the drivers."""

from __future__ import annotations

from time import time_ns  # bound here, so that a test that changes the clients' clock leaves the backend's alone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._driver import Driver

__all__ = ["backend_now_ms", "host_now_ms"]


def host_now_ms() -> int:
    """Return milliseconds since 1970."""
    return time_ns() // 1_000_000


async def backend_now_ms(driver: Driver) -> int:
    """Return milliseconds since 1970 by the backend's clock. Some drivers have to write an item to find out."""
    now = (await driver.health(probe=True)).clock_ms
    assert now is not None, "health(probe=True) tells the time"
    return now
