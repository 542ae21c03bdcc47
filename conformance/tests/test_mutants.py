"""Every mutant is caught by an assertion of the section that its mistake belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from itertools import count, product
from pathlib import Path
from pkgutil import iter_modules
from tempfile import TemporaryDirectory
from typing import Any

import mutants
import pytest
from hypothesis import Phase, settings
from limpet.driver import Driver
from limpet_conformance import Section
from limpet_conformance.sections import watching
from mutants import MUTANTS, Mutant
from toys.pickled import PickledDriver
from toys.shared_memory import PLACES, SharedMemoryDriver

_CLAUSES = [module.name for module in iter_modules(mutants.__path__)]
for _clause in _CLAUSES:
    import_module(f"mutants.{_clause}")

_NAMES = count()


def _suite(mutant: Mutant) -> type[Section]:
    """The section, on the wrong driver."""

    @asynccontextmanager
    async def place(self: Section) -> AsyncIterator[str]:
        if issubclass(mutant.driver, PickledDriver):
            with TemporaryDirectory() as folder:
                yield f"pickled://{folder}/data"
            return
        if not issubclass(mutant.driver, SharedMemoryDriver):
            yield "memory://"
            return
        name = f"mutant{next(_NAMES)}"
        yield f"shared-memory://{name}"
        PLACES.pop(name, None)

    def driver(self: Section, url: str) -> Driver:
        return mutant.driver.from_url(url)

    body: dict[str, Any] = {"capabilities": mutant.driver.capabilities, "place": place, "driver": driver}
    body["factory"] = f"{mutant.driver.__module__}:{mutant.driver.__name__}.from_url"
    return type(mutant.driver.__name__, (mutant.section,), body | mutant.extra)


def _calls(test: Any) -> Iterator[dict[str, Any]]:
    """The arguments of each case of a parametrised test."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    for values in product(*(mark.args[1] for mark in marks)):
        yield dict(zip((mark.args[0] for mark in marks), values, strict=True))


def _hunt(mutant: Mutant) -> tuple[str, str]:
    """The first test of the section that catches the mutant, and what it says."""
    suite = _suite(mutant)
    in_processes = issubclass(mutant.driver, PickledDriver)
    for name, test in vars(mutant.section).items():
        if not name.startswith("test_"):
            continue
        spawns = any(mark.name == "processes" for mark in getattr(test, "pytestmark", ()))
        if spawns != in_processes:
            continue
        for arguments in _calls(test):
            try:
                test(suite(), **arguments)
            except AssertionError as caught:
                return name, str(caught)
            except pytest.skip.Exception:
                continue
    pytest.fail(f"{mutant.name} escaped: {mutant.driver.__doc__}")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A mutant need not be caught by the shortest example, nor be waited for as long as a slow server."""
    monkeypatch.setattr(watching, "WITHIN", 0.5)
    settings.register_profile("mutants", phases=[Phase.generate])
    settings.load_profile("mutants")
    yield
    settings.load_profile("default")


@pytest.mark.again
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant, record_property: Any) -> None:
    test, said = _hunt(mutant)
    assert "had not ended after" not in said, f"{mutant.name} was caught by a time-out only: {said}"
    record_property("caught", f"{mutant.name} -> {test}")


def test_there_are_enough_mutants() -> None:
    """At least sixty, and three for each section of the suite."""
    sections = {
        path.stem for path in (Path(mutants.__file__).parents[2] / "src/limpet_conformance/sections").glob("[a-z]*.py")
    }
    assert set(_CLAUSES) == sections, "mutants/ and sections/ do not have the same names"
    counted = Counter(mutant.section.__module__.rpartition(".")[2] for mutant in MUTANTS)
    few = [section for section in sections if counted[section] < 3]
    assert not few, f"fewer than three mutants for {few}"
    assert len(MUTANTS) >= 60
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
