"""A slow backend."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from limpet.driver import Driver

from ._seam import Call, Fault, Verb, injected

__all__ = ["slowed"]


@contextmanager
def slowed(
    driver: Driver, verb: Verb = "_commit", *, seconds: float = 0.05, when: Literal["before", "after"] = "before"
) -> Iterator[Fault]:
    """Every call waits before it reaches the backend, or after the backend has handled it."""
    fault = Fault()

    def around(call: Call) -> Call:
        async def instead(*args: Any, **kwargs: Any) -> Any:
            fault.fired += 1
            if when == "before":
                await asyncio.sleep(seconds)
            answer = await call(*args, **kwargs)
            if when == "after":
                await asyncio.sleep(seconds)
            return answer

        return instead

    with injected(driver, verb, around):
        yield fault
