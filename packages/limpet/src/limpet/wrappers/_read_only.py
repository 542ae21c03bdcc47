"""Reading, and no way to write."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import ReadOnlyError
from ..driver import Batch, Check, Driver, Health, Key, Put, Verdict, Work
from ._wrapper import Wrap, Wrapper, layers

__all__ = ["ReadOnly", "read_only"]


class ReadOnly(Wrapper):
    """Refuses every verb that writes with `ReadOnlyError`, before the backend hears of it.

    It stands next to the driver, so that no wrapper can write past it. A batch of nothing but checks is refused, too:
    some backends write to judge it. A place that Limpet never wrote is not made but refused when it is opened.
    """

    rank = 3

    async def apply(self, batch: Batch) -> None:
        raise _error()

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        return [_error() for _ in work]

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        raise _error()

    async def clear(self, base: Key) -> int:
        raise _error()

    async def purge(self) -> int:
        raise _error()

    async def health(self) -> Health:
        if type(layers(self)[-1]).health is Driver.health:  # the default writes an item and reads it back
            raise _error()
        return await super().health()


def read_only() -> Wrap:
    """For `wrappers=`, as the last of them: a `ReadOnly` around the driver."""
    return ReadOnly


def _error() -> ReadOnlyError:
    return ReadOnlyError("opened with read_only(): open it without to write")
