"""Upkeep in the background, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..stores import Upkeep as AsyncUpkeep
from ._face import Face

__all__ = ["Upkeep"]


class Upkeep(Face[AsyncUpkeep]):
    """Works in the background while its block runs: at once, and then at intervals.

    Of all processes that run it on one database, only one works at a time, and its pass counts for all. If a pass
    fails, the error is logged (`limpet`), and the next pass tries again.
    """

    @property
    def passes(self) -> int:
        """How many passes this object has done."""
        return self._inner.passes

    def __enter__(self) -> Self:
        self._call(self._inner.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._inner.__aexit__, kind, error, trace)
