"""A call that never arrives, one whose answer is lost, and one that arrives late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from limpet import UnavailableError
from limpet.driver import Driver

from ._seam import Call, Fault, Verb, injected

__all__ = ["Late", "dropped", "late", "never_arrived", "swallowed"]


@contextmanager
def dropped(driver: Driver, verb: Verb = "_commit", *, times: int = 1) -> Iterator[Fault]:
    """The connection fails before anything is sent: nothing happens, and the caller can know that."""
    fault = Fault()

    def around(call: Call) -> Call:
        async def instead(*args: Any, **kwargs: Any) -> Any:
            if fault.fired >= times:
                return await call(*args, **kwargs)
            fault.fired += 1
            raise UnavailableError("injected: the connection failed before sending", sent=False)

        return instead

    with injected(driver, verb, around):
        yield fault


@contextmanager
def never_arrived(driver: Driver, verb: Verb = "_commit", *, times: int = 1) -> Iterator[Fault]:
    """The call is sent, but the backend never receives it: nothing happens, and the caller cannot know that."""
    fault = Fault()

    def around(call: Call) -> Call:
        async def instead(*args: Any, **kwargs: Any) -> Any:
            if fault.fired >= times:
                return await call(*args, **kwargs)
            fault.fired += 1
            raise UnavailableError("injected: the connection failed after sending", sent=True)

        return instead

    with injected(driver, verb, around):
        yield fault


@contextmanager
def swallowed(
    driver: Driver, verb: Verb = "_commit", *, times: int = 1, then: Callable[[], Awaitable[None]] | None = None
) -> Iterator[Fault]:
    """The call is applied and its answer is lost. `then` runs in between, as another, faster caller."""
    fault = Fault()

    def around(call: Call) -> Call:
        async def instead(*args: Any, **kwargs: Any) -> Any:
            if fault.fired >= times:
                return await call(*args, **kwargs)
            fault.fired += 1
            await call(*args, **kwargs)
            if then is not None:
                await then()
            raise UnavailableError("injected: the answer was lost", sent=True)

        return instead

    with injected(driver, verb, around):
        yield fault


@dataclass(slots=True)
class Late(Fault):
    """Calls that are still under way."""

    waiting: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)

    async def arrive(self) -> None:
        """Let all calls arrive that are under way, in the order in which they were sent."""
        while self.waiting:
            await self.waiting.pop(0)()


@contextmanager
def late(driver: Driver, verb: Verb = "_commit", *, times: int = 1) -> Iterator[Late]:
    """The connection fails after sending, and the backend handles the call only when `arrive` is called."""
    fault = Late()

    def around(call: Call) -> Call:
        async def instead(*args: Any, **kwargs: Any) -> Any:
            if fault.fired >= times:
                return await call(*args, **kwargs)
            fault.fired += 1
            fault.waiting.append(lambda: call(*args, **kwargs))
            raise UnavailableError("injected: the connection failed after sending", sent=True)

        return instead

    with injected(driver, verb, around):
        yield fault
