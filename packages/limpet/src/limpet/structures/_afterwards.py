"""What comes after a write that was applied: if it fails, the call must not say that nothing was written."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from .._errors import LimpetError, OutcomeUnknownError, UnavailableError

__all__ = ["afterwards", "written"]

_logger = logging.getLogger("limpet")


async def afterwards(work: Awaitable[object]) -> None:
    """Await what upkeep does too: where it fails it is left to that, and logged."""
    try:
        await work
    except LimpetError as error:
        _logger.info("left to upkeep: %s", error)


@contextmanager
def written(what: str) -> Iterator[None]:
    """Around reading back what was written: raises `OutcomeUnknownError` in the place of `UnavailableError`."""
    try:
        yield
    except UnavailableError as error:
        raise OutcomeUnknownError(f"{what} was written, and could not be read back: {error}") from error
