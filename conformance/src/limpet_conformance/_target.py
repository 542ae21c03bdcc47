"""Databases to run the suite on, by name. Plug-ins can add more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from limpet.driver import Capabilities
from limpet.plugins import call

from ._driver_conformance import DriverConformance

__all__ = ["Target", "conformance_of", "targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """Something to test: what `limpet_conformance_targets` returns."""

    name: str
    capabilities: Capabilities
    """What its driver declares."""
    place: Callable[[], AbstractAsyncContextManager[str]]
    """Yields the URL of an empty database, another one for every call, and cleans it up afterwards."""


def conformance_of(target: Target) -> type[DriverConformance]:
    """Return the suite for a target, as a class that pytest collects if a module names it `Test...`."""

    def place(self: DriverConformance) -> AbstractAsyncContextManager[str]:
        return target.place()

    title = "".join(word.capitalize() for word in target.name.replace("_", "-").split("-"))
    return type(f"Test{title}", (DriverConformance,), {"capabilities": target.capabilities, "place": place})


def targets() -> dict[str, Target]:
    """Return the targets of all installed plug-ins, by name."""
    found: dict[str, Target] = {}
    for given, wrong in call("limpet_conformance_targets", may_fail=True):
        for target in given or ():
            if not isinstance(target, Target):
                raise wrong(f"returned a {type(target).__name__} from limpet_conformance_targets(): return Targets")
            found[target.name] = target
    return found
