"""Clause 11, an application's own client: used, never closed, and adapted to or refused by name."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from limpet import ConfigurationError
from limpet.driver import Driver, Put, key, name, number

from .._borrowed import Borrowed
from .._suite import Section
from ..machinery.reading import walk
from .values import VALUES

__all__ = ["Clients"]

A = key(name("clients"), name("a"))


class Clients(Section):
    """If the driver accepts a client that the application created."""

    def borrowing(self, url: str) -> Any:
        """Override this if your driver accepts a client: an async context manager that yields a `Borrowed` on `url`.

        `None`, the default, means that it does not, and the tests of this section are reported as not declared.
        """
        return None

    async def _borrowed(self, stack: AsyncExitStack, url: str) -> Borrowed:
        lending = self.borrowing(url)
        if lending is None:
            self.not_declared("a client from the application (the suite has no `borrowing`)")
        borrowed = await stack.enter_async_context(lending)
        assert isinstance(borrowed, Borrowed), f"borrowing() yields a {type(borrowed).__name__}: yield a Borrowed"
        return borrowed

    async def test_a_borrowed_client_is_never_closed(self, url: str) -> None:
        async with AsyncExitStack() as stack:
            borrowed = await self._borrowed(stack, url)
            await borrowed.still_works()
            driver = borrowed.make()
            async with driver:
                await driver.apply([Put(A, "x")])
                await borrowed.still_works()
            await _works(borrowed, "close() closed the application's client")

    async def test_a_borrowed_client_serves_several_drivers(self, url: str) -> None:
        async with AsyncExitStack() as stack:
            borrowed = await self._borrowed(stack, url)
            second = borrowed.make()
            async with second:
                async with borrowed.make() as first:
                    await first.apply([Put(A, "x")])
                items = await _listed(second, "a driver cannot read once another one on the same client was closed")
                assert items == {A: "x"}

    async def test_a_borrowed_client_gives_what_was_put(self, url: str) -> None:
        async with AsyncExitStack() as stack:
            borrowed = await self._borrowed(stack, url)
            async with borrowed.make() as driver:
                await _round(driver, "a borrowed client")

    async def test_settings_that_change_results_are_adapted_to_or_refused(self, url: str) -> None:
        async with AsyncExitStack() as stack:
            borrowed = await self._borrowed(stack, url)
            for setting, make in borrowed.settings.items():
                driver = make()
                try:
                    await driver.open()
                except ConfigurationError as refusal:
                    assert setting in str(refusal), f"{setting} is refused without its name: {refusal}"  # noqa: PT017 - either way is right
                    continue
                try:
                    await driver.clear("")
                    await _round(driver, f"a client with {setting}")
                finally:
                    await driver.close()
            await _works(borrowed, "a refused opening closed the application's client")


async def _works(borrowed: Borrowed, complaint: str) -> None:
    try:
        await borrowed.still_works()
    except Exception as error:
        raise AssertionError(f"{complaint}: {error}") from error


async def _listed(driver: Driver, complaint: str) -> dict[str, Any]:
    try:
        return {item.key: item.value for item in await walk(driver)}
    except Exception as error:
        raise AssertionError(f"{complaint}: {error}") from error


async def _round(driver: Driver, what: str) -> None:
    """Store every third awkward value and read it back."""
    values = dict(zip((key(name("clients"), number(at)) for at in range(len(VALUES))), VALUES[::3], strict=False))
    assert set(await driver.commit([[Put(at, value)] for at, value in values.items()])) == {None}
    items = {item.key: item for item in await walk(driver)}
    for at, value in values.items():
        got = items[at].value
        assert type(got) is type(value), f"{what} gives {type(got).__name__} for {type(value).__name__} {value[:40]!r}"
        assert got == value, f"{what} gives {got!r} for {value!r}"
