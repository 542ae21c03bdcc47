"""A driver around a driver that changes nothing. Subclasses override one thing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from .._errors import ConfigurationError
from ..driver import Capabilities, Driver, Health, Item, Key, Outcome, Page, Range, Unit

__all__ = ["Wrap", "Wrapper", "ensure_owner", "layers"]

Wrap: TypeAlias = Callable[[Driver], Driver]
"""Puts a driver around a driver: what `wrappers=` takes."""


class Wrapper(Driver):
    """Delegates the whole interface, capabilities included.

    Opening and closing a wrapper opens and closes what it wraps. A subclass that changes what is stored sets
    `stored_as`; the name goes into the manifest of every database written through it.
    """

    capabilities: Capabilities
    stored_as: ClassVar[str | None] = None
    rank: ClassVar[int | None] = None
    """Its position in a stack, for wrappers that can occur only once: 0 for any, otherwise the lowest is outermost."""

    def __init__(self, inner: Driver) -> None:
        for layer in layers(inner):
            if self.rank is not None and isinstance(layer, Wrapper):
                self._check_order(layer)
        self.inner = inner
        self.capabilities = self._declared(inner.capabilities)

    def _declared(self, inner: Capabilities) -> Capabilities:
        """Return what this driver declares if the wrapped one declares `inner`."""
        return inner

    def _check_order(self, inner: Wrapper) -> None:
        one, other = type(self).__name__, type(inner).__name__
        if type(self) is type(inner):
            raise ConfigurationError(f"{one} around {other}: the second one has no effect; leave one of them out")
        if self.rank and inner.rank and self.rank > inner.rank:
            raise ConfigurationError(
                f"{one} around {other} is the wrong order: use {other}({one}(driver)); "
                "in wrappers=, the outermost comes first"
            )

    @property
    def tls_problem(self) -> str | None:
        return self.inner.tls_problem

    @property
    def is_open(self) -> bool:
        return self.inner.is_open

    async def open(self) -> None:
        await self.inner.open()
        self.capabilities = self._declared(self.inner.capabilities)

    async def close(self) -> None:
        await self.inner.close()

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        return await self.inner.get(keys, values=values)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await self.inner.commit(units)

    async def scan(self, range: Range) -> Page:
        return await self.inner.scan(range)

    async def clear(self, base: Key) -> int:
        return await self.inner.clear(base)

    async def purge(self) -> int:
        return await self.inner.purge()

    async def health(self, *, probe: bool = False) -> Health:
        return await self.inner.health(probe=probe)

    def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        return self.inner.watch(base)


@runtime_checkable
class _Owned(Protocol):
    def ensure_owner(self) -> None: ...


def ensure_owner(driver: Driver) -> None:
    """Raise `ForeignLoopError` if a driver is open on another event loop. Call it before closing several things."""
    innermost = layers(driver)[-1]
    if isinstance(innermost, _Owned):
        innermost.ensure_owner()


def layers(driver: Driver) -> list[Driver]:
    """Return the driver and everything that it wraps, outermost first."""
    found = [driver]
    while isinstance(driver, Wrapper):
        driver = driver.inner
        found.append(driver)
    return found
