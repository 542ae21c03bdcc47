"""Wrappers around drivers: given in order, checked once, closed with what they wrap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from limpet import ConfigurationError, WrongStackError, create_persistence, create_storage
from limpet.driver import Driver, MemoryDriver
from limpet.opening import OnDemand
from limpet.structures import OutOfLine
from limpet.wrappers import Wrapper, layers


class Outer(Wrapper):
    stored_as = "outer"
    rank = 1


class Inner(Wrapper):
    stored_as = "inner"
    rank = 2
    closed = False

    async def close(self) -> None:
        self.closed = True
        await super().close()


class Anywhere(Wrapper):
    rank = 0


async def test_the_first_wrapper_is_the_outermost() -> None:
    async with create_persistence("memory://", wrappers=[Outer, Anywhere, Inner]) as persistence:
        assert [type(layer) for layer in layers(persistence.driver)] == [
            OutOfLine,
            Outer,
            Anywhere,
            Inner,
            MemoryDriver,
        ]


async def test_wrappers_stand_around_batching() -> None:
    class Grouping(MemoryDriver):
        capabilities = MemoryDriver.capabilities.__class__(group=True)

    async with create_persistence(Grouping(), wrappers=[Outer]) as persistence:
        names = [type(layer).__name__ for layer in layers(persistence.driver)]
    assert names == ["OutOfLine", "Outer", "Batching", "Grouping"]


async def test_the_stack_is_part_of_the_place() -> None:
    async with MemoryDriver() as driver:
        await (await create_storage(driver, wrappers=[Outer, Inner])).aclose()
        async with create_storage(driver, wrappers=[Outer, Anywhere, Inner]):
            pass
        for wrong in ([], [Outer], [Inner]):
            with pytest.raises(WrongStackError, match="'outer' over 'inner'"):
                await create_storage(driver, wrappers=wrong)


async def test_a_driver_of_the_application_stays_open_and_its_wrappers_are_closed() -> None:
    made: list[Inner] = []

    def wrap(driver: Driver) -> Driver:
        made.append(Inner(driver))
        return made[-1]

    async with MemoryDriver() as mine:
        async with create_storage(mine, wrappers=[wrap]) as storage:
            await storage.set_item("a", 1)
        assert made[0].closed
        assert mine.is_open


async def test_what_fails_to_open_leaves_nothing_open() -> None:
    class Refusing(Wrapper):
        async def open(self) -> None:
            await super().open()
            raise ConfigurationError("no")

    driver = MemoryDriver()
    with pytest.raises(ConfigurationError, match="no"):
        await create_storage(driver, wrappers=[Refusing])
    assert not driver.is_open


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([Inner, Outer], r"Outer\(Inner\(driver\)\)"),
        ([Inner, Anywhere, Outer], "the outermost comes first"),
        ([Outer, Anywhere, Outer], "the second one"),
        ([Anywhere, Anywhere], "the second one"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(stack: list[Callable[[Driver], Driver]], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await create_persistence("memory://", wrappers=stack)


@pytest.mark.parametrize("wrong", [Outer, "compressed", ["compressed"], [lambda driver: None]])
async def test_what_is_no_list_of_wrappers_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"compressed\(\)"):
        await create_persistence("memory://", wrappers=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("delegating", [Wrapper, OnDemand])
def test_everything_that_a_driver_does_is_delegated(delegating: type[Driver]) -> None:
    makes_or_opens = {"from_url", "capabilities", "apply", "append"}
    verbs = {name for name in vars(Driver) if not name.startswith("_")} - makes_or_opens
    assert "watch" in verbs
    assert verbs <= set(vars(delegating))
