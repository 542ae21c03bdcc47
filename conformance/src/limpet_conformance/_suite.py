"""How a test of the suite runs: with drivers on an empty database, in its own event loop.

Tests are written as coroutines and collected as plain functions, so that they do not depend on plug-ins for asyncio or
their settings. A test's parameters say what it gets: `driver` is one open driver on an empty database, `pair` is two on
the same database (the same one twice if the driver is not shared), `url` is an empty database with nothing opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import wraps
from importlib import import_module
from inspect import Signature, iscoroutinefunction, isfunction, signature
from operator import attrgetter
from typing import Any, ClassVar, NoReturn, TypeAlias
from weakref import WeakSet

import pytest
from hypothesis import HealthCheck, settings
from limpet import LimpetError
from limpet.driver import Capabilities, Driver

from ._requires import NOT_DECLARED, undeclared

__all__ = ["Pair", "Section"]

Pair: TypeAlias = tuple[Driver, Driver]
"""Two drivers on one database; the same one twice if the driver is not shared."""

_GIVEN = frozenset({"driver", "pair", "url"})
_PUBLISHED: WeakSet[Callable[..., None]] = WeakSet()


class Section:
    """The base of every section of the suite, and what an author implements."""

    capabilities: ClassVar[Capabilities]
    """What the author declares. The suite verifies it both ways."""

    factory: ClassVar[str] = "limpet.opening:driver_from_url"
    """`module:name` of a function that returns an unopened driver for a URL, here and in processes of tests."""

    effort: ClassVar[float] = 1.0
    """How long random searches run, as a factor: 0.3 for a quick run, 10 for a night."""

    patience: ClassVar[float] = 60.0
    """Seconds after which an unfinished test fails."""

    def place(self) -> AbstractAsyncContextManager[str]:
        """Yield the URL of an empty database, and clean it up afterwards. Every call yields another one."""
        raise NotImplementedError(
            "implement 'place': an async context manager that yields the URL of an empty database"
        )

    def driver(self, url: str) -> Driver:
        """Return an unopened driver for a URL, created as applications create it."""
        module, _, name = self.factory.partition(":")
        made = attrgetter(name)(import_module(module))(url)
        assert isinstance(made, Driver), f"{self.factory} returned a {type(made).__name__}, which is not a Driver"
        return made

    @asynccontextmanager
    async def drivers(self, count: int) -> AsyncIterator[list[Driver]]:
        """Yield open drivers on one empty database; `count` times the same one if the driver is not shared."""
        async with self.place() as url, AsyncExitStack() as stack:
            apart = count if self.capabilities.shared else 1
            opened = [await stack.enter_async_context(self.opened(url)) for _ in range(apart)]
            yield [opened[at % apart] for at in range(count)]

    @asynccontextmanager
    async def opened(self, url: str) -> AsyncIterator[Driver]:
        """Yield one more open driver on a database from `place`."""
        driver = self.driver(url)
        self.note("driver", type(driver).__name__)
        async with driver:
            yield driver

    @contextmanager
    def by_hand(self) -> Iterator[tuple[Driver, Callable[[Coroutine[Any, Any, None]], None]]]:
        """Yield one open driver and a function that runs coroutines, for a test that is not a coroutine."""
        with asyncio.Runner() as runner:
            drivers = self.drivers(1)
            (driver,) = runner.run(drivers.__aenter__())
            try:
                yield driver, runner.run
            finally:
                runner.run(drivers.__aexit__(None, None, None))

    def examples(self, usual: int) -> settings:
        """Return settings for Hypothesis:

        `usual` examples at an effort of 1, no deadline, nothing kept between runs.
        """
        return settings(
            max_examples=max(3, int(usual * self.effort)),
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )

    def not_declared(self, what: str) -> NoReturn:
        """End a test that requires something that this driver does not offer."""
        pytest.skip(NOT_DECLARED + what)

    def note(self, fact: str, value: str) -> None:
        """Record a fact about the tested driver for the report."""
        self.notes[fact] = value

    @property
    def notes(self) -> dict[str, str]:
        """Facts for the report: `driver`, `server`, `version`."""
        notes: dict[str, str] = self.__dict__.setdefault("_notes", {})
        return notes

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, function in list(vars(cls).items()):
            if name.startswith("test_") and isfunction(function) and function not in _PUBLISHED:
                setattr(cls, name, _published(function))


def _published(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a plain test function for a test that needs drivers or an event loop."""
    parameters = signature(function).parameters
    wanted = [name for name in parameters if name in _GIVEN]

    @wraps(function)
    def test(self: Section, *args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        lacking = undeclared(self.capabilities, function)
        if lacking is not None:
            pytest.skip(NOT_DECLARED + lacking)
        try:
            if iscoroutinefunction(function):
                with asyncio.Runner() as runner:
                    runner.run(_play(self, function, wanted, args, kwargs))
            else:
                function(self, *args, **kwargs)
        except LimpetError as error:
            raise AssertionError(f"a call that had to succeed raised {type(error).__name__}: {error}") from error
        except pytest.fail.Exception as error:  # from pytest.raises: one kind of failure is enough
            raise AssertionError(f"a call that had to be refused was not: {error}") from error

    del test.__wrapped__
    test.__signature__ = Signature(  # type: ignore[attr-defined]
        [parameter for name, parameter in parameters.items() if name not in _GIVEN]
    )
    _PUBLISHED.add(test)
    return test


async def _play(
    self: Section, function: Callable[..., Any], wanted: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    __tracebackhide__ = True
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_patience(self.patience))
        given: dict[str, Any] = {}
        if "url" in wanted:
            given["url"] = await stack.enter_async_context(self.place())
        if "driver" in wanted:
            (given["driver"],) = await stack.enter_async_context(self.drivers(1))
        if "pair" in wanted:
            given["pair"] = tuple(await stack.enter_async_context(self.drivers(2)))
        await function(self, *args, **given, **kwargs)


@asynccontextmanager
async def _patience(seconds: float) -> AsyncIterator[None]:
    guard = asyncio.timeout(seconds)
    try:
        async with guard:
            yield
    except TimeoutError as error:
        if guard.expired():
            raise AssertionError(f"the test had not ended after {seconds:.0f} s: a call of the driver hangs") from error
        raise
