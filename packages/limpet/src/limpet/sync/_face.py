"""What every class here is made of: an object of the asynchronous API, and the portal to the event loop that it lives on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from functools import partial
from types import TracebackType
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

from .._anywhere import Parts, parts, wait_until_closed
from .._portal import Portal
from ..opening import Opening

__all__ = ["Face", "Root", "Signal", "opened"]

A = TypeVar("A")
C = TypeVar("C", bound="_Closable")
F = TypeVar("F")
P = ParamSpec("P")
R = TypeVar("R")


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class Face(Generic[A]):
    """A synchronous face of an asynchronous object."""

    def __init__(self, portal: Portal, inner: A) -> None:
        self._portal = portal
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    def _call(self, function: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        return self._portal.take(None, partial(function, *args, **kwargs))

    def _take(
        self,
        give_back: Callable[[R], Awaitable[object]],
        function: Callable[P, Coroutine[Any, Any, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        return self._portal.take(give_back, partial(function, *args, **kwargs))

    def _ending(
        self,
        function: Callable[P, Coroutine[Any, Any, Callable[[], Awaitable[None]]]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Callable[[], None]:
        """Begin something; return what ends it."""
        end = self._portal.take(_called, partial(function, *args, **kwargs))
        return partial(self._portal.call, _called, end)

    def _iterate(self, iterator: AsyncIterator[R]) -> Generator[R, None, None]:
        return self._portal.iterate(iterator)


class Root(Face[C]):
    """A face of something that is closed on its own, or owns the event loop that it lives on."""

    def __init__(self, portal: Portal, inner: C, *, is_root: bool = False) -> None:
        super().__init__(portal, inner)
        self._is_root = is_root

    @classmethod
    def of(cls, opened: C) -> Self:
        """The synchronous face of something asynchronous, for other threads than the one that runs its event loop.

        It may come from `open_persistence()` and the like; or be open on the event loop that runs here, and then a call
        from this thread, which would wait for itself, is a `ForeignLoopError`. Both faces stay usable, and closing one
        closes both.
        """
        known = parts(opened)
        if known is None:
            return cls(Portal.to_here(), opened, is_root=True)
        return cls(known.portal, known.inner, is_root=known.is_root)

    def close(self) -> None:
        """Wait for calls under way, then close. Closing twice does nothing."""
        wait_until_closed(Parts(self._inner, self._portal, self._is_root))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Signal:
    """Something that is set once, and can be waited for."""

    def __init__(self, portal: Portal, inner: asyncio.Event) -> None:
        self._portal = portal
        self._inner = inner

    def __repr__(self) -> str:
        return f"<Signal: {'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Whether it has been set."""
        return self._inner.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is set, for up to `timeout` seconds (`None`: no limit); return whether it is."""
        return self._portal.call(_wait, self._inner, timeout)


def opened(face: Callable[[Portal, C], F], opening: Opening[C]) -> F:
    """Open something on an event loop of its own, and return its face, which closes both."""
    made: list[C] = []

    async def close() -> None:
        for each in made:
            await each.aclose()

    portal = Portal(close)
    try:
        made.append(portal.take(lambda inner: inner.aclose(), partial(_awaited, opening)))
    except BaseException:
        portal.end()
        raise
    return face(portal, made[0])


async def _awaited(opening: Awaitable[R]) -> R:
    return await opening


async def _called(function: Callable[[], Awaitable[None]]) -> None:
    await function()


async def _wait(event: asyncio.Event, timeout: float | None) -> bool:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
