"""Where faults are injected: the five small methods of one driver, replaced on the instance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from limpet.driver import Driver
from limpet.driver.kit import BaseDriver
from limpet.wrappers import layers

__all__ = ["Call", "Fault", "Verb", "can_inject", "injected"]

Verb: TypeAlias = Literal["_commit", "_fetch", "_list"]
Call: TypeAlias = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class Fault:
    """What a fault has done so far."""

    fired: int = 0
    """How many calls it affected."""


def can_inject(driver: Driver) -> bool:
    """Return whether faults can be injected into this driver or the one it wraps: it must be a `BaseDriver`."""
    return isinstance(layers(driver)[-1], BaseDriver)


@contextmanager
def injected(driver: Driver, verb: Verb, around: Callable[[Call], Call]) -> Iterator[None]:
    """Wrap one of a driver's small methods in a function during the block."""
    if not can_inject(driver):
        raise TypeError(f"{type(driver).__name__} is not built on BaseDriver: it has no seam for faults")
    driver = layers(driver)[-1]
    had = vars(driver).get(verb)
    setattr(driver, verb, around(getattr(driver, verb)))
    try:
        yield
    finally:
        if had is None:
            delattr(driver, verb)
        else:
            setattr(driver, verb, had)
