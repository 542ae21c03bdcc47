"""Steps after a write was applied. If one fails, the call must not report that nothing was written."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from .._errors import LimpetError, OutcomeUnknownError, UnavailableError

__all__ = ["afterwards", "written"]

_logger = logging.getLogger("limpet")


async def afterwards(work: Awaitable[object]) -> None:
    """Await something that upkeep can also do: if it fails, log that and leave it to upkeep."""
    try:
        await work
    except LimpetError as error:
        _logger.info("left to upkeep: %s", error)


@contextmanager
def written(what: str) -> Iterator[None]:
    """Use when reading back what was written: raises `OutcomeUnknownError` instead of `UnavailableError`."""
    try:
        yield
    except UnavailableError as error:
        raise OutcomeUnknownError(f"{what} was written, and could not be read back: {error}") from error
