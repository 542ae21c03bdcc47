"""A driver that can only read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from .._errors import ReadOnlyError
from ..driver import Health, Key, Outcome, Unit
from ..driver.kit import BaseDriver
from ._wrapper import Wrap, Wrapper, layers

__all__ = ["ReadOnly", "read_only"]


class ReadOnly(Wrapper):
    """Refuses every verb that writes with `ReadOnlyError`, before the backend sees it.

    It is next to the driver, so that no wrapper can write past it. A batch that contains only checks is refused too,
    because some backends write to evaluate it. Opening a database that Limpet never wrote to is refused, since that
    would create it.
    """

    rank: ClassVar[int | None] = 3

    async def open(self) -> None:
        driver = layers(self)[-1]
        if isinstance(driver, BaseDriver):
            driver.only_reads = True
        await super().open()

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return [_error() for _ in units]

    async def clear(self, base: Key) -> int:
        raise _error()

    async def purge(self) -> int:
        raise _error()

    async def health(self, *, probe: bool = False) -> Health:
        return await super().health(probe=False)


def read_only() -> Wrap:
    """Refuse all writes, for `wrappers=`, where it comes last; see `ReadOnly`."""
    return ReadOnly


def _error() -> ReadOnlyError:
    return ReadOnlyError("this database was opened with read_only(): open it without read_only() to write")
