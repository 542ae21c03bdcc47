"""What is called back, and what is read piece by piece: each in a thread of its own, where it may block and call anything."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import finalize

from ..driver.kit import Worker

__all__ = ["Readable", "in_thread", "read_in_thread"]

P = ParamSpec("P")
T = TypeVar("T")

_END = object()


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self, size: int, /) -> bytes: ...


class _InThread:
    """A function that is called in a thread of its own, one call at a time, which ends with this object."""

    def __init__(self, function: Callable[..., object], name: str) -> None:
        self._function = function
        self._context = copy_context()
        self._worker = Worker(name)
        finalize(self, self._worker.stop)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await self._worker.run(partial(self._context.run, partial(self._function, *args, **kwargs)))


def in_thread(callback: Callable[P, object]) -> Callable[P, Awaitable[None]]:
    """The same callback for the event loop: run in a thread, in a copy of this context."""
    if not callable(callback):
        return callback  # whatever takes it refuses it
    thread = _InThread(callback, "limpet callback")

    async def call(*args: P.args, **kwargs: P.kwargs) -> None:
        await thread(*args, **kwargs)

    return call


def read_in_thread(source: T) -> T | AsyncGenerator[bytes, None]:
    """The same bytes for the event loop. What somebody's code yields is fetched in a thread."""
    is_there = isinstance(source, (str, bytes, bytearray, memoryview, list, tuple))
    is_file = callable(getattr(source, "read", None))  # which is read in a thread anyway
    return _pieces(source) if isinstance(source, Iterable) and not is_there and not is_file else source


async def _pieces(source: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    iterator = iter(source)
    following = _InThread(partial(next, iterator, _END), "limpet source")
    while (piece := await following()) is not _END:
        yield piece
