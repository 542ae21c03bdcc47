"""Callbacks and byte sources of a caller, which run on the caller's event loop and not on the portal's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any

from .._errors import ClosedError
from .._portal import Portal
from ..stores.storage import call_back

__all__ = ["called_here", "read_here", "watching_here"]


def called_here(callback: Callable[..., object]) -> Callable[..., object]:
    """Return a queue's callback that runs on the current event loop, as long as that loop runs."""
    return _called_here(callback, _call)


def watching_here(callback: Callable[..., object]) -> Callable[..., object]:
    """Return a storage's callback that runs on the current event loop, whose exception handler gets its errors."""
    return _called_here(callback, call_back)


def _called_here(
    callback: Callable[..., object], how: Callable[..., Coroutine[Any, Any, None]]
) -> Callable[..., object]:
    if not callable(callback):
        return callback  # the method that takes it refuses it
    here = Portal.to_here()

    async def call(*arguments: Any) -> None:
        try:
            await here.cross(how, callback, *arguments)
        except ClosedError:
            if here.is_gone:
                raise asyncio.CancelledError from None
            raise

    return call


def read_here(source: object) -> object:
    """Return a source of bytes that is iterated over on the current event loop. Plain bytes and files are returned unchanged."""
    if isinstance(source, AsyncIterable):
        return Portal.to_here().iterate_across(aiter(source))
    if isinstance(source, Iterable) and not isinstance(source, (str, bytes, bytearray, memoryview)):
        if callable(getattr(source, "read", None)):
            return source  # a file is read in a thread anyway
        return Portal.to_here().iterate_across(_each(source))
    return source


async def _call(callback: Callable[..., object], *arguments: Any) -> None:
    result = callback(*arguments)
    if isinstance(result, Awaitable):
        await result


async def _each(source: Iterable[Any]) -> AsyncIterator[Any]:
    for piece in source:
        yield piece
