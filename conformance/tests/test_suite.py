"""The suite as a whole: every test is there, the guard sees what is taken out, capabilities decide what runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from inspect import signature
from typing import Any

import limpet_conformance
import pytest
from limpet.driver import Capabilities, MemoryDriver
from limpet.plugins import hookimpl, plugins
from limpet_conformance import DriverConformance, Section, Target, conformance_of, requires, targets
from limpet_conformance._guard import published_tests
from limpet_conformance._requires import undeclared


class Small(DriverConformance):
    __test__ = False
    capabilities = MemoryDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"


def _run(suite: Any, test: str) -> None:
    """As pytest does: the published test is a plain function, whatever it was written as."""
    getattr(suite, test)()


def _guard(suite: type[DriverConformance]) -> None:
    suite().test_no_published_test_was_overridden_or_deleted()


def test_no_section_hides_a_test_of_another() -> None:
    names = [
        name
        for section in DriverConformance.__mro__
        if issubclass(section, Section)
        for name in vars(section)
        if name.startswith("test_")
    ]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    assert set(names) == set(published_tests(DriverConformance))
    assert len(names) > 150


def test_every_section_is_in_the_suite() -> None:
    from pkgutil import iter_modules

    from limpet_conformance import sections

    modules = {f"{sections.__name__}.{found.name}" for found in iter_modules(sections.__path__)}
    assert modules <= {section.__module__ for section in DriverConformance.__mro__}


def test_drivers_are_given_and_hidden_from_pytest() -> None:
    for test in published_tests(DriverConformance).values():
        assert not {"driver", "pair", "url"} & set(signature(test).parameters)


def test_public_names() -> None:
    assert sorted(limpet_conformance.__all__) == limpet_conformance.__all__
    for name in limpet_conformance.__all__:
        assert getattr(limpet_conformance, name).__name__ == name or name == "Pair"
    with pytest.raises(AttributeError):
        limpet_conformance.nothing_of_the_kind  # noqa: B018


def test_a_whole_suite_passes_its_guard() -> None:
    _guard(Small)


def test_an_override_is_found() -> None:
    class Cheat(Small):
        def test_nothing_to_do(self) -> None:  # type: ignore[override]
            pass

    with pytest.raises(AssertionError, match="test_nothing_to_do was overridden"):
        _guard(Cheat)


def test_a_deleted_test_is_found() -> None:
    class Cheat(Small):
        test_nothing_to_do = None  # type: ignore[assignment]

    with pytest.raises(AssertionError, match="test_nothing_to_do was deleted"):
        _guard(Cheat)


@pytest.mark.parametrize(
    "mark",
    [
        pytest.mark.xfail(strict=True),
        pytest.mark.xfail(reason="", strict=True),
        pytest.mark.xfail(reason="it is slow"),
        pytest.mark.skip(reason="it is slow"),
    ],
    ids=["no reason", "empty reason", "not strict", "skip"],
)
def test_an_override_with_half_an_excuse_is_found(mark: Any) -> None:
    class Cheat(Small):
        @mark  # type: ignore[untyped-decorator]
        def test_nothing_to_do(self) -> None:
            pass

    with pytest.raises(AssertionError, match="test_nothing_to_do was overridden"):
        _guard(Cheat)


def test_a_reasoned_strict_xfail_is_let_through() -> None:
    class Honest(Small):
        @pytest.mark.xfail(reason="the server cannot do it before 4.2", strict=True)
        def test_nothing_to_do(self) -> None:  # type: ignore[override]
            _run(super(), "test_nothing_to_do")

    _guard(Honest)


@pytest.mark.parametrize("name", ["skip", "xfail"])
def test_a_whole_class_cannot_be_excused(name: str) -> None:
    class Cheat(Small):
        pytestmark = getattr(pytest.mark, name)(reason="it is slow", **({"strict": True} if name == "xfail" else {}))

    with pytest.raises(AssertionError, match="the whole class"):
        _guard(Cheat)


def test_the_guard_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match="take that out"):

        class Cheat(Small):
            def test_no_published_test_was_overridden_or_deleted(self) -> None:
                pass


def test_requires_compares_scales_and_words() -> None:
    @requires(shared=True, durable="process")
    def test() -> None:
        pass

    assert undeclared(Capabilities(shared=True, durable="disk"), test) is None
    assert undeclared(Capabilities(shared=True, durable="process"), test) is None
    assert "durable" in str(undeclared(Capabilities(shared=True, durable="no"), test))
    assert "shared" in str(undeclared(Capabilities(durable="disk"), test))
    with pytest.raises(TypeError, match="no 'atomicity'"):
        requires(atomicity="batch")


def test_what_is_not_declared_does_not_run() -> None:
    class Lonely(Small):
        capabilities = replace(MemoryDriver.capabilities, watch=False)

    with pytest.raises(pytest.skip.Exception, match="not declared: watch=True"):
        _run(Lonely(), "test_none_comes_first")
    with pytest.raises(AssertionError):
        _run(Lonely(), "test_a_driver_that_cannot_watch_says_so")


def test_a_hanging_driver_fails_the_test() -> None:
    class Hanging(Section):
        capabilities = MemoryDriver.capabilities
        patience = 0.05

        @asynccontextmanager
        async def place(self) -> AsyncIterator[str]:
            yield "memory://"

        async def test_hang(self) -> None:
            from asyncio import Event

            await Event().wait()

    with pytest.raises(AssertionError, match="a call of the driver hangs"):
        _run(Hanging(), "test_hang")


def test_plug_ins_give_targets() -> None:
    suite = Small()
    mine = Target("my-memory", MemoryDriver.capabilities, suite.place)

    class Plugin:
        @hookimpl
        def limpet_conformance_targets(self) -> list[Target]:
            return [mine]

    plugin = Plugin()
    plugins().register(plugin)
    try:
        assert targets()["my-memory"] is mine
    finally:
        plugins().unregister(plugin)
    made = conformance_of(mine)
    assert made.__name__ == "TestMyMemory"
    _guard(made)
    _run(made(), "test_nothing_to_do")
