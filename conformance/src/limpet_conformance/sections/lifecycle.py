"""Lifecycle: open and close, event loops, cancellation, and the optional verbs for maintenance and reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest
from limpet import ClosedError, ConfigurationError, ForeignLoopError
from limpet.driver import Append, Capabilities, Check, Driver, Put, Range, counter_key, key, name, number, text

from .._suite import Section
from ..faults import can_inject, slowed
from ..machinery.reading import one, walk

__all__ = ["Lifecycle"]

A = key(name("lifecycle"), name("a"))

_CALLS: dict[str, Callable[[Driver], Awaitable[Any]]] = {
    "get": lambda driver: driver.get([A]),
    "apply": lambda driver: driver.apply([Put(A, "x")]),
    "scan": lambda driver: driver.scan(Range("")),
    "commit": lambda driver: driver.commit([[Put(A, "x")]]),
    "append": lambda driver: driver.append(counter_key(A), [Put(A, "x")], Check(A)),
    "clear": lambda driver: driver.clear(""),
    "purge": lambda driver: driver.purge(),
    "health": lambda driver: driver.health(),
}


class Lifecycle(Section):
    """From `open` to `close`."""

    async def test_what_is_declared_is_what_is_found(self, driver: Driver) -> None:
        """The author's declaration matches the open driver's, and the class attribute is the upper bound."""
        assert driver.capabilities == self.capabilities, (
            "the open driver has other capabilities than the suite was told"
        )
        bound = type(driver).capabilities
        hints = get_type_hints(Capabilities)
        for field in fields(Capabilities):
            has, most = getattr(driver.capabilities, field.name), getattr(bound, field.name)
            scale = get_args(hints[field.name])
            within = scale.index(has) <= scale.index(most) if scale else has <= most
            assert within, f"{field.name}={has!r} is beyond the class attribute's {most!r}"

    async def test_open_twice(self, url: str) -> None:
        driver = self.driver(url)
        await driver.open()
        await driver.apply([Put(A, "x")])
        await driver.open()
        assert await one(driver, A) is not None, "opening an open driver emptied it"
        await driver.close()

    async def test_a_driver_says_whether_it_is_open(self, url: str) -> None:
        driver = self.driver(url)
        assert not driver.is_open, "a driver says that it is open before anybody opened it"
        await driver.open()
        assert driver.is_open, "an open driver says that it is not"
        await driver.close()
        assert not driver.is_open, "a closed driver says that it is open"

    async def test_open_at_once(self, url: str) -> None:
        driver = self.driver(url)
        await asyncio.gather(*(driver.open() for _ in range(5)))
        await driver.apply([Put(A, "x")])
        assert await one(driver, A) is not None
        await driver.close()

    async def test_close_twice(self, url: str) -> None:
        driver = self.driver(url)
        await driver.open()
        await driver.close()
        await driver.close()
        await asyncio.gather(driver.close(), driver.close())

    async def test_close_without_open(self, url: str) -> None:
        driver = self.driver(url)
        await driver.close()
        with pytest.raises(ClosedError):
            await driver.open()

    async def test_closed_for_good(self, url: str) -> None:
        driver = self.driver(url)
        async with driver:
            pass
        with pytest.raises(ClosedError):
            await driver.open()

    @pytest.mark.parametrize("verb", _CALLS)
    async def test_use_before_open(self, url: str, verb: str) -> None:
        driver = self.driver(url)
        with pytest.raises(ClosedError):
            await _CALLS[verb](driver)
        await driver.close()

    @pytest.mark.parametrize("verb", _CALLS)
    async def test_use_after_close(self, url: str, verb: str) -> None:
        async with self.opened(url) as driver:
            await driver.apply([Put(A, "x")])
            await driver.close()
            if verb == "commit":
                await _every_outcome_is(driver, ClosedError)
                return
            with pytest.raises(ClosedError):
                await _CALLS[verb](driver)

    @pytest.mark.parametrize("verb", _CALLS)
    async def test_use_from_another_event_loop(self, driver: Driver, verb: str) -> None:
        await driver.apply([Put(A, "0")])
        caught: list[BaseException] = []

        def elsewhere() -> None:
            try:
                asyncio.run(_outcome(_CALLS[verb], driver))
            except BaseException as error:  # noqa: BLE001 - handed to the test, which asserts its type
                caught.append(error)

        await asyncio.to_thread(elsewhere)
        assert caught, f"{verb} from another event loop was let through"
        assert isinstance(caught[0], ForeignLoopError), f"{verb} from another event loop: {caught[0]!r}"
        item = await one(driver, A)
        assert item is not None
        assert item.value == "0", "the driver is unusable on its own event loop afterwards"
        await driver.apply([Put(A, "1")])

    async def test_close_from_another_event_loop(self, url: str) -> None:
        async with self.opened(url) as driver:
            await driver.apply([Put(A, "0")])
            caught: list[BaseException] = []

            async def closing() -> None:
                async with asyncio.timeout(10):
                    await driver.close()

            def elsewhere() -> None:
                try:
                    asyncio.run(closing())
                except BaseException as error:  # noqa: BLE001 - handed to the test, which asserts its type
                    caught.append(error)

            await asyncio.to_thread(elsewhere)
            assert caught, "close() from another event loop was let through"
            assert isinstance(caught[0], ForeignLoopError), f"close() from another event loop: {caught[0]!r}"
            item = await one(driver, A)
            assert item is not None
            assert item.value == "0", "the driver is unusable on its own event loop afterwards"

    async def test_close_lets_calls_under_way_finish(self, url: str) -> None:
        async with self.opened(url) as driver:
            if not can_inject(driver):
                self.not_declared("faults: the driver is not built on BaseDriver")
            await driver.apply([Put(A, "0")])
            with (
                slowed(driver, seconds=0.03),
                slowed(driver, "_fetch", seconds=0.03),
                slowed(driver, "_list", seconds=0.03),
            ):
                calls = [
                    asyncio.create_task(call)
                    for call in (driver.get([A]), driver.apply([Put(A, "1")]), driver.scan(Range("")))
                ]
                await asyncio.sleep(0.005)
                await driver.close()
                assert all(call.done() for call in calls), "close() did not wait for a call under way"
            for call in calls:
                assert call.exception() is None, f"a call under way at close() ended with {call.exception()!r}"

    async def test_a_clear_under_way_at_close_finishes(self, url: str) -> None:
        base = key(name("clear"), text("closing"))
        keys = [key(base, number(at)) for at in range(1_200)]
        async with self.opened(url) as driver:
            at_once = 1 if driver.capabilities.atomic == "item" else 400
            for start in range(0, len(keys), at_once):
                await driver.apply([Put(at, "x") for at in keys[start : start + at_once]])
            clearing = asyncio.create_task(driver.clear(base))
            await asyncio.sleep(0)
            await driver.close()
            assert clearing.done(), "close() did not wait for a clear() under way"
            assert clearing.exception() is None, f"a clear() under way at close() ended with {clearing.exception()!r}"
            assert clearing.result() == len(keys)

    async def test_a_cancelled_close_can_be_repeated(self, url: str) -> None:
        """A caller that closes again, or at the same time, returns when everything is freed."""
        driver = self.driver(url)
        await driver.open()
        if not can_inject(driver):
            self.not_declared("faults: the driver is not built on BaseDriver")
        with slowed(driver, seconds=0.05):
            call = asyncio.create_task(driver.apply([Put(A, "x")]))
            await asyncio.sleep(0.005)
            closing = asyncio.create_task(driver.close())
            await asyncio.sleep(0.005)
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled(), "a cancelled close() swallowed its cancellation"
            await driver.close()
            assert call.done(), "a second close() returned while a call was still under way"
            assert call.exception() is None
        await driver.close()

    async def test_cancellation_leaves_the_driver_usable(self, driver: Driver) -> None:
        """Whatever a call was doing when it was cancelled, the next ones work and see whole items."""
        put = Put(A, "0")
        await driver.apply([put])
        for turn in range(30):
            calls: list[asyncio.Task[Any]] = [
                asyncio.create_task(_CALLS[verb](driver))  # type: ignore[arg-type]
                for verb in ("get", "scan", "apply", "commit", "purge")
            ]
            for _ in range(turn % 6):
                await asyncio.sleep(0)
            if turn % 3 == 2:
                await asyncio.sleep(0.0003 * (turn % 7))
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            for call in calls:
                assert call.cancelled() or call.exception() is None, f"a cancelled call raised {call.exception()!r}"
            item = await one(driver, A)
            assert item is not None
            assert item.value in ("0", "x")
            await driver.apply([Put(A, "0")])

    async def test_a_driver_that_was_never_opened_leaves_nothing_behind(self, url: str) -> None:
        assert not isinstance(self.driver(url), type(None))
        async with self.opened(url) as driver:
            assert await walk(driver) == []

    async def test_a_place_is_empty_at_first(self, driver: Driver) -> None:
        assert await walk(driver) == [], "the database that the suite was given is not empty"

    async def test_every_test_has_a_place_of_its_own(self) -> None:
        async with self.drivers(1) as (first,):
            await first.apply([Put(A, "x")])
        async with self.drivers(1) as (second,):
            assert await walk(second) == [], "place() yielded a database that was used before"

    async def test_an_unknown_option_of_a_url_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigurationError):
            self.driver(url + ("&" if "?" in url else "?") + "no_such_option_exists=1")

    async def test_clear_takes_all_that_is_below_and_nothing_else(self, driver: Driver) -> None:
        base = key(name("clear"), text("a"))
        below = [key(base, number(at)) for at in range(700)] + [key(base, text("x"), text("y"))]
        beside = [
            base,
            key(name("clear")),
            key(name("clear"), text("ab")),
            key(name("clear"), text("a b"), text("x")),
            A,
        ]
        assert set(await driver.commit([[Put(at, "x")] for at in [*below, *beside]])) == {None}
        assert await driver.clear(base) == len(below)
        assert sorted(item.key for item in await walk(driver)) == sorted(beside)
        assert await driver.clear(base) == 0
        assert await driver.clear("") == len(beside)
        assert await walk(driver) == []

    async def test_health(self, driver: Driver) -> None:
        health = await driver.health(probe=True)
        self.note("server", health.server)
        self.note("version", health.version)
        assert health.server
        assert health.version
        await driver.apply([Put(A, "x")])
        item = await one(driver, A)
        assert item is not None
        assert health.clock_ms is not None
        assert -1000 <= item.updated_at - health.clock_ms < 10_000, "health() tells another clock than updated_at"
        assert isinstance(health.problems, tuple)
        assert all(isinstance(problem, str) and problem for problem in health.problems)
        assert all(isinstance(fact, str) and isinstance(said, str) for fact, said in health.details.items())

    async def test_an_append_is_not_mistaken_for_a_batch(self, driver: Driver) -> None:
        (outcome,) = await driver.commit([Append(A, (Put(A, "x"),), Check(key(name("nowhere"))))])
        assert isinstance(outcome, Exception)
        assert await walk(driver) == []


async def _outcome(call: Callable[[Driver], Awaitable[Any]], driver: Driver) -> None:
    answer = await call(driver)
    if isinstance(answer, list):
        for outcome in answer:
            if isinstance(outcome, Exception):
                raise outcome


async def _every_outcome_is(driver: Driver, kind: type[Exception]) -> None:
    """`commit` can raise one error for a closed driver, or return an error for each unit."""
    try:
        outcomes = await driver.commit([[Put(A, "x")]])
    except kind:
        return
    assert all(isinstance(outcome, kind) for outcome in outcomes), f"a closed driver answered {outcomes}"
