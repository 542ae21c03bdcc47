"""A Limpet plug-in that uses every hook: counts the calls that reach a driver, and notes what was opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from limpet.driver import Driver, Item, Key, MemoryDriver, Outcome, Unit
from limpet.plugins import hookimpl
from limpet.wrappers import Wrapper

if TYPE_CHECKING:
    import typer
    from limpet_conformance import Target

__all__ = ["Counted", "calls", "opened"]

calls: Counter[str] = Counter()
"""How often each verb reached a driver in this process."""

opened: list[str | None] = []
"""The URL of every driver that was opened in this process, `None` where the application passed an object."""


class Counted(Wrapper):
    """Counts the calls that reach the driver inside."""

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        calls["get"] += 1
        return await super().get(keys, values=values)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        calls["commit"] += 1
        return await super().commit(units)


@hookimpl
def limpet_wrap_driver(url: str | None) -> Callable[[Driver], Driver] | None:
    return Counted


@hookimpl
def limpet_driver_opened(driver: Driver, url: str | None) -> None:
    opened.append(url)


@hookimpl
def limpet_commands(app: typer.Typer) -> None:
    @app.command("example-calls")
    def example_calls() -> None:
        """Show how many calls reached a driver in this process."""
        print(dict(calls))


@hookimpl
def limpet_conformance_targets() -> Iterator[Target]:
    from limpet_conformance import Target

    @asynccontextmanager
    async def place() -> AsyncIterator[str]:
        yield "memory://"

    yield Target("example-memory", MemoryDriver.capabilities, place)
