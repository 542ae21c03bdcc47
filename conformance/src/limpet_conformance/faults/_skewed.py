"""A client whose clock is wrong."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

__all__ = ["skewed"]


@contextmanager
def skewed(seconds: float) -> Iterator[None]:
    """Move this process's wall clock: `time.time`, `time.time_ns`, `datetime.now`, `utcnow` and `today`.

    The backend's clock must not change. An embedded driver, whose backend's clock is the host's, reads it
    through `limpet.driver.host_now_ms`, which was bound before and stays right; a driver that uses `time.time()` for a
    decision fails. Monotonic clocks do not change.
    """
    true_time, true_time_ns, true_datetime = time.time, time.time_ns, datetime.datetime
    moved = datetime.timedelta(seconds=seconds)

    class Skewed(true_datetime):  # type: ignore[valid-type,misc]
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return true_datetime.now(tz) + moved

        @classmethod
        def utcnow(cls) -> Any:
            return true_datetime.now(datetime.UTC).replace(tzinfo=None) + moved

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    with (
        patch.object(time, "time", lambda: true_time() + seconds),
        patch.object(time, "time_ns", lambda: true_time_ns() + int(seconds * 1_000_000_000)),
        patch.object(datetime, "datetime", Skewed),
    ):
        yield
