"""Drivers with one plausible mistake each; a module for each section that has to catch them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from limpet.driver import Driver
from limpet_conformance import Section

__all__ = ["MUTANTS", "Mutant", "caught_by"]

D = TypeVar("D", bound=type[Driver])


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong driver and the section whose business its mistake is."""

    driver: type[Driver]
    section: type[Section]
    extra: dict[str, Any]
    """What the suite's class needs beside `capabilities` and `place`."""

    @property
    def name(self) -> str:
        return f"{self.section.__module__.rpartition('.')[2]}: {self.driver.__name__}"


MUTANTS: list[Mutant] = []


def caught_by(section: type[Section], **extra: Any) -> Callable[[D], D]:
    """Register a wrong driver; its docstring says what is wrong with it."""

    def register(driver: D) -> D:
        assert driver.__doc__, f"{driver.__name__} does not say what is wrong with it"
        MUTANTS.append(Mutant(driver, section, extra))
        return driver

    return register
