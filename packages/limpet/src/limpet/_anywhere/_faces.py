"""The stores for any event loop: objects of the same classes, whose methods run on the store's own loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import cache, partial, wraps
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from .._errors import ClosedError
from .._portal import Portal
from .._run_to_end import run_to_end
from ..driver import Driver
from ..stores import (
    ApprovalStore,
    BlobStore,
    CheckpointStore,
    Claim,
    ContainerRepository,
    EventQueue,
    FeedbackStore,
    ImageRepository,
    Job,
    KeyValueStore,
    KeyValueTree,
    Persistence,
    SessionRepository,
    Storage,
    ThreadStore,
    Upkeep,
    WorkQueue,
)
from ..stores.records import AgentState, StateHistory
from ..structures import ClaimedItem, Fetch, Listing
from ._callbacks import called_here, read_here, watching_here
from ._driver import CrossingDriver

__all__ = ["Parts", "face", "give_back", "parts", "wait_until_closed"]

S = TypeVar("S")

_FACED = (
    AgentState,
    ApprovalStore,
    BlobStore,
    CheckpointStore,
    Claim,
    ContainerRepository,
    EventQueue,
    FeedbackStore,
    ImageRepository,
    Job,
    KeyValueStore,
    KeyValueTree,
    Persistence,
    SessionRepository,
    StateHistory,
    Storage,
    ThreadStore,
    Upkeep,
    WorkQueue,
)
_AS_IT_IS = {(AgentState, "with_state")}
"""Methods that use only public methods of their class: they run on the caller's loop, and what they call crosses."""
_HERE: Mapping[tuple[type, str], tuple[str, Callable[[Any], object]]] = {
    (EventQueue, "subscribe"): ("callback", called_here),
    (Storage, "watch"): ("callback", watching_here),
    (BlobStore, "create"): ("source", read_here),
}
"""Arguments that belong to the caller's loop."""


def face(inner: S, portal: Portal, *, is_root: bool = False) -> S:
    """Return an object of `inner`'s class for any event loop. With `is_root`, closing it ends the portal."""
    store: Any = type(inner)
    made: Any = object.__new__(_class_of(store))
    made.__dict__.update(_inner=inner, _portal=portal, _is_root=is_root, _known={})
    faced: S = made
    return faced


class Parts(NamedTuple, Generic[S]):
    """The parts of a face."""

    inner: S
    portal: Portal
    is_root: bool


def parts(store: S) -> Parts[S] | None:
    """Return the parts of a face; `None` for a store itself."""
    return Parts(store._inner, store._portal, store._is_root) if isinstance(store, _Face) else None


def wait_until_closed(of: Parts[Any]) -> None:
    """Close the store behind a face, and block this thread until it is closed. Closing twice does nothing."""
    inner, portal, is_root = of
    if portal.is_forked:  # the parent owns everything
        portal.end()
    elif not is_root:
        portal.call(inner.aclose)
    elif not portal.is_closed:
        portal.open_no_more()
        try:
            if portal.is_opened:
                portal.call(inner.aclose)
        except ClosedError:  # another task closed it first
            pass
        finally:
            portal.end()


async def give_back(taken: object) -> None:
    """Give back what a caller acquired but, because it was cancelled, will not use."""
    if isinstance(taken, Claim):
        await taken.give_back()
    elif isinstance(taken, list):
        for each in taken:
            if isinstance(each, Job):
                await each.retry(delay=0)


class _Face:
    """The methods that all faces share."""

    _inner: Any
    _portal: Portal
    _is_root: bool
    _known: dict[str, tuple[Any, Any]]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._attribute(name)

    def __repr__(self) -> str:
        return repr(self._inner)

    def _attribute(self, name: str) -> Any:
        found = getattr(self._inner, name)
        known = self._known.get(name)
        if known is None or known[0] is not found:
            known = self._known[name] = (found, self._adopted(found))  # one face for each store
        return known[1]

    def _adopted(self, found: Any) -> Any:
        """Return a method's result for the caller's loop."""
        if found is self._inner:
            return self
        if isinstance(found, _FACED):
            return face(found, self._portal)
        if isinstance(found, Listing):
            return found.fetched(self._fetched)
        if isinstance(found, Driver):
            return CrossingDriver(found, self._portal)
        if isinstance(found, asyncio.Event):
            return _CrossingEvent(found, self._portal)
        if isinstance(found, AsyncIterator):
            return self._portal.iterate_across(found)
        if type(found) is list and found and isinstance(found[0], Job):
            return [face(job, self._portal) for job in found]
        if type(found) is dict and found and all(isinstance(each, Driver) for each in found.values()):
            return {at: self._adopted(driver) for at, driver in found.items()}
        return found

    def _fetched(self, fetch: Fetch[Any]) -> Fetch[Any]:
        async def across(position: str | None, count: int) -> tuple[Sequence[Any], str | None]:
            return await self._portal.cross(_fetch, fetch, position, count)

        return across

    async def _closed(self) -> None:
        if self._portal.is_forked:  # the parent owns everything
            self._portal.end()
        elif not self._is_root:
            await self._portal.cross(self._inner.aclose)
        elif not self._portal.is_closed:
            self._portal.open_no_more()
            try:
                if self._portal.is_opened:
                    await self._portal.cross(self._inner.aclose)
            except ClosedError:  # another task closed it first
                pass
            finally:
                await self._portal.end_across()


class _CrossingEvent(asyncio.Event):
    """An event that is set on the portal's loop."""

    def __init__(self, inner: asyncio.Event, portal: Portal) -> None:
        super().__init__()
        self._inner = inner
        self._portal = portal

    def is_set(self) -> bool:
        return self._inner.is_set()

    async def wait(self) -> Literal[True]:
        return True if self._inner.is_set() else await self._portal.cross(self._inner.wait)


@cache
def _class_of(store: type) -> type:
    members: dict[str, Any] = {
        "__module__": store.__module__,
        "__qualname__": store.__qualname__,
        "__doc__": store.__doc__,
    }
    for name, function in inspect.getmembers(store):
        if (store, name) in _AS_IT_IS or not (name in ("__aenter__", "__aexit__") or not name.startswith("_")):
            continue
        if isinstance(function, property):
            members[name] = _property(name, function)
        elif inspect.iscoroutinefunction(function):
            members[name] = _crossing(name, function, _argument_of(store, name))
        elif inspect.isfunction(function):
            members[name] = _plain(name, function)
    if issubclass(store, ClaimedItem):
        members["__aenter__"] = _enter_claimed
    if "aclose" in members:
        members |= {"aclose": _aclose, "__aexit__": _aexit}
    return type(store.__name__, (_Face, store), members)


def _crossing(
    name: str, function: Callable[..., Coroutine[Any, Any, Any]], here: tuple[str, Callable[[Any], object]] | None
) -> Callable[..., Coroutine[Any, Any, Any]]:
    signature = inspect.signature(function)

    @wraps(function)
    async def crossing(self: Any, *args: Any, **kwargs: Any) -> Any:
        if here is not None:
            bound = signature.bind(self, *args, **kwargs)
            bound.arguments[here[0]] = here[1](bound.arguments[here[0]])
            args, kwargs = bound.args[1:], bound.kwargs
        undo = _undo(name, self._inner)
        found = await self._portal.take_across(undo, partial(getattr(self._inner, name), *args, **kwargs))
        if here is not None and callable(found):
            return partial(self._portal.cross, found)
        return self._adopted(found)

    return crossing


def _plain(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def plain(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._adopted(getattr(self._inner, name)(*args, **kwargs))

    return plain


def _property(name: str, written: property) -> property:
    return property(lambda self: self._attribute(name), doc=written.__doc__)


def _undo(name: str, inner: Any) -> Callable[[Any], Awaitable[object]] | None:
    if name == "claim":
        return give_back
    if name == "__aenter__":
        error = asyncio.CancelledError()
        return lambda _: inner.__aexit__(type(error), error, None)
    if name in ("subscribe", "watch"):
        return lambda end: end()
    return None


def _argument_of(store: type, name: str) -> tuple[str, Callable[[Any], object]] | None:
    return next((how for (of, called), how in _HERE.items() if called == name and issubclass(store, of)), None)


async def _enter_claimed(self: _Face) -> _Face:
    """Does not wait: a task that is cancelled between claiming something and its block would not give it back."""
    if self._portal.is_here:
        await self._inner.__aenter__()
    else:
        self._portal.post(self._inner.__aenter__)
    return self


async def _aclose(self: _Face) -> None:
    await run_to_end(self._closed())


async def _aexit(
    self: _Face, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    await run_to_end(self._closed())


async def _fetch(fetch: Fetch[Any], position: str | None, count: int) -> tuple[Sequence[Any], str | None]:
    found: tuple[Sequence[Any], str | None] = await fetch(position, count)
    return found
