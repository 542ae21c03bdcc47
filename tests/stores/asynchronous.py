"""The synchronous API as if it were the asynchronous one, so that the same tests run on it: each task calls from a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextvars import copy_context
from functools import cache, partial
from types import TracebackType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, finalize

from limpet import stores, sync
from limpet.driver import Capabilities, Driver, Health, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import Worker
from limpet.state import AgentState, StateHistory

__all__ = ["asynchronous"]

R = TypeVar("R")

_END = object()
_threads: WeakKeyDictionary[asyncio.Task[Any], Worker] = WeakKeyDictionary()


async def in_thread(function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Call it in the thread of this task, in a copy of its context."""
    task = asyncio.current_task()
    assert task is not None
    if task not in _threads:
        worker = _threads[task] = Worker("task")
        finalize(task, worker.stop)
    return await _threads[task].run(partial(copy_context().run, partial(function, *args, **kwargs)))


def asynchronous(face: sync.Persistence | sync.Storage) -> Any:
    """An object of the asynchronous class of the same name."""
    return _adapted(face)


def _adapted(found: Any) -> Any:
    if isinstance(found, sync.Driver):
        return _Driver(found)
    if isinstance(found, sync.Listing):
        return _Listing(found)
    if isinstance(found, sync.Signal):
        return _Signal(found)
    if isinstance(found, Iterator) and not isinstance(found, (str, bytes)):
        return _iterate(found)
    if type(found) is list and found and isinstance(found[0], sync.Job):
        return [_adapted(each) for each in found]
    if type(found) is dict and found and all(isinstance(each, sync.Driver) for each in found.values()):
        return {at: _adapted(each) for at, each in found.items()}
    name = type(found).__name__
    if type(found).__module__.startswith("limpet.sync"):
        original = {"AgentState": AgentState, "StateHistory": StateHistory}.get(name) or getattr(stores, name)
        made: Any = object.__new__(_class_of(original))
        made.__dict__["_face"] = found
        return made
    if callable(found) and not isinstance(found, type):
        return partial(in_thread, found)
    return found


def _argument(given: Any) -> Any:
    """What a test hands over: what is asynchronous in it runs on the test's loop."""
    loop = asyncio.get_running_loop()

    def wait(awaitable: Awaitable[R]) -> R:
        async def awaited() -> R:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), loop).result()

    if isinstance(given, AsyncIterable):
        iterator = aiter(given)

        async def following() -> Any:
            return await anext(iterator, _END)

        return iter(lambda: wait(following()), _END)
    return given


def _callback(callback: Callable[..., Any]) -> Callable[..., Any]:
    """As a test's own: it runs on the test's loop."""
    if not callable(callback):
        return callback
    loop = asyncio.get_running_loop()

    async def call(*args: Any) -> None:
        result = callback(*args)
        if inspect.isawaitable(result):
            await result

    return lambda *args: asyncio.run_coroutine_threadsafe(call(*args), loop).result()


async def _iterate(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        while (found := await in_thread(next, iterator, _END)) is not _END:
            yield found
    finally:
        if isinstance(iterator, Generator):
            await in_thread(iterator.close)


class _Listing:
    def __init__(self, inner: sync.Listing[Any]) -> None:
        self._inner = inner

    def __await__(self) -> Generator[None, None, Any]:
        return in_thread(self._inner.page).__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return _iterate(iter(self._inner))

    def skip_unreadable(self, report: Callable[[Any], object]) -> _Listing:
        return _Listing(self._inner.skip_unreadable(report))

    def with_errors(self) -> _Listing:
        return _Listing(self._inner.with_errors())


class _Signal:
    def __init__(self, inner: sync.Signal) -> None:
        self.is_set = inner.is_set
        self.wait = partial(in_thread, inner.wait)


class _Driver(Driver):
    def __init__(self, inner: sync.Driver) -> None:
        self._inner = inner

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        return self._inner.capabilities

    @property
    def is_open(self) -> bool:
        return self._inner.is_open

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        return await in_thread(self._inner.get, keys, values=values)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await in_thread(self._inner.commit, units)

    async def scan(self, range: Range) -> Page:
        return await in_thread(self._inner.scan, range)

    async def clear(self, base: Key) -> int:
        return await in_thread(self._inner.clear, base)

    async def purge(self) -> int:
        return await in_thread(self._inner.purge)

    async def health(self, *, probe: bool = False) -> Health:
        return await in_thread(self._inner.health, probe=probe)

    def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        return _iterate(self._inner.watch(base))


class _Adapter:
    _face: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._face, name)
        return (
            found
            if callable(found) and not type(found).__module__.startswith("limpet.sync")
            else self._kept(name, found)
        )

    def _kept(self, name: str, found: Any) -> Any:
        adapted = _adapted(found)
        if type(found).__module__.startswith("limpet.sync") and not isinstance(found, sync.Signal):
            self.__dict__[name] = adapted
        return adapted

    def __repr__(self) -> str:
        return repr(self._face)


@cache
def _class_of(original: type) -> type:
    members: dict[str, Any] = {}
    for name, function in inspect.getmembers(original):
        if name.startswith("_") and name not in ("__aenter__", "__aexit__"):
            continue
        if isinstance(function, property):
            members[name] = _property(name)
        elif name == "__aenter__":
            members[name] = _enter
        elif name == "__aexit__":
            members[name] = _exit
        elif name == "aclose":
            members[name] = _close
        elif name == "with_state":
            continue  # written with `async with`
        elif inspect.iscoroutinefunction(function):
            members[name] = _called(name)
        elif inspect.isfunction(function):
            members[name] = _plain(name)
    return type(original.__name__, (_Adapter, original), members)


def _called(name: str) -> Callable[..., Awaitable[Any]]:
    async def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        each = _callback if name in ("subscribe", "watch") else _argument
        args = tuple(each(arg) if callable(arg) or each is _argument else arg for arg in args)
        kwargs = {key: each(value) if key in ("callback", "source") else value for key, value in kwargs.items()}
        return _adapted(await in_thread(getattr(self._face, name), *args, **kwargs))

    return called


def _property(name: str) -> property:
    return property(lambda self: self._kept(name, getattr(self._face, name)))


def _plain(name: str) -> Callable[..., Any]:
    def plain(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _adapted(getattr(self._face, name)(*args, **kwargs))

    return plain


async def _enter(self: Any) -> Any:
    entered = await in_thread(self._face.__enter__)
    return self if entered is self._face else entered


async def _exit(
    self: Any, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    await in_thread(self._face.__exit__, kind, error, trace)


async def _close(self: Any) -> None:
    await in_thread(self._face.close)
