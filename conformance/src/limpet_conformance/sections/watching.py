"""Clause 7, watching: `None` first, then notifications that arrive; expiry causes none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from limpet import ClosedError, InvalidKeyError, UnsupportedError
from limpet.driver import Delete, Driver, Key, Put, Unit, key, name, number, text

from .._requires import requires
from .._suite import Pair, Section
from ..machinery.reading import one

__all__ = ["Watching"]

BASE = key(name("watching"), text("a"))
WITHIN = 5.0
"""Seconds within which a notification arrives."""

Hint = frozenset[Key] | None
Hints = AsyncIterator[Hint]


@asynccontextmanager
async def _watch(driver: Driver, base: Key) -> AsyncIterator[Hints]:
    hints = driver.watch(base)
    try:
        yield hints
    finally:
        if isinstance(hints, AsyncGenerator):  # other iterators have nothing to close
            await hints.aclose()


async def _next(hints: Hints, what: str) -> Hint:
    try:
        async with asyncio.timeout(WITHIN):
            return await anext(hints)
    except (TimeoutError, StopAsyncIteration) as error:
        raise AssertionError(f"no hint of {what} within {WITHIN} s") from error


async def _hinted(hints: Hints, at: Key) -> None:
    """Read notifications until one names a key, or says to look again."""
    for _ in range(200):
        hint = await _next(hints, at)
        if hint is None or at in hint:
            return
    raise AssertionError(f"200 hints, and none of {at!r}")


async def _live(hints: Hints) -> None:
    assert await _next(hints, "being live") is None, "the first hint must be None, once the watch is live"


class Watching(Section):
    """Change notifications."""

    async def test_a_driver_that_cannot_watch_says_so(self, driver: Driver) -> None:
        if self.capabilities.watch:
            async with _watch(driver, "") as hints:
                await _live(hints)
            return
        with pytest.raises(UnsupportedError):
            await anext(driver.watch(""))

    @requires(watch=True)
    async def test_none_comes_first(self, driver: Driver) -> None:
        await driver.apply([Put(key(BASE, number(0)), "before")])
        async with _watch(driver, BASE) as hints:
            await _live(hints)

    @requires(watch=True)
    async def test_puts_and_deletes_are_hinted(self, pair: Pair) -> None:
        watcher, writer = pair
        at = key(BASE, number(1))
        async with _watch(watcher, BASE) as hints:
            await _live(hints)
            for _ in range(3):
                await writer.apply([Put(at, "x")])
                await _hinted(hints, at)
                await writer.apply([Delete(at)])
                await _hinted(hints, at)

    @requires(watch=True)
    async def test_a_batch_hints_at_each_of_its_keys(self, pair: Pair) -> None:
        watcher, writer = pair
        await writer.apply([Put(key(BASE, number(0)), "x")])
        async with _watch(watcher, BASE) as hints:
            await _live(hints)
            units: list[Unit] = [
                [Delete(key(BASE, number(0)))],
                *([Put(key(BASE, number(at)), "x")] for at in range(1, 6)),
            ]
            assert set(await writer.commit(units)) == {None}
            left = {key(BASE, number(at)) for at in range(6)}
            while left:
                hint = await _next(hints, f"{sorted(left)}")
                left = set() if hint is None else left - hint

    @requires(watch=True)
    async def test_only_what_is_below_is_named(self, pair: Pair) -> None:
        watcher, writer = pair
        last = key(BASE, name("last"))
        others = [
            BASE,
            key(name("watching")),
            key(name("watching"), text("ab"), number(1)),
            key(name("watchings"), number(1)),
        ]
        async with _watch(watcher, BASE) as hints:
            await _live(hints)
            for at in [*others, last]:
                await writer.apply([Put(at, "x")])
            while True:
                hint = await _next(hints, last)
                if hint is None:
                    break
                strange = [at for at in hint if not at.startswith(BASE + "!")]
                assert not strange, f"a watch of {BASE!r} names {strange}"
                if last in hint:
                    break

    @requires(watch=True)
    async def test_everything_can_be_watched(self, pair: Pair) -> None:
        watcher, writer = pair
        async with _watch(watcher, "") as hints:
            await _live(hints)
            for at in (key(name("x")), key(text("y"), number(1))):
                await writer.apply([Put(at, "x")])
                await _hinted(hints, at)

    @requires(watch=True)
    async def test_a_change_while_nobody_waits_is_not_lost(self, pair: Pair) -> None:
        """Between two notifications, the consumer reads; what is written in that time must wake it again."""
        watcher, writer = pair
        at, other = key(BASE, number(1)), key(BASE, number(2))
        async with _watch(watcher, BASE) as hints:
            await _live(hints)
            await writer.apply([Put(at, "1")])
            await _hinted(hints, at)
            for value in ("2", "3"):
                await writer.apply([Put(other, value)])
                await asyncio.sleep(0.01)
                await writer.apply([Put(at, value)])
                await _hinted(hints, at)

    @requires(watch=True)
    async def test_a_consumer_that_reads_by_cursor_sees_everything(self, pair: Pair) -> None:
        """Subscribe, read, wait for a notification, read again: the last of many writes must not be missed."""
        watcher, writer = pair
        count = 150
        at = key(BASE, name("counter"))

        async def write() -> None:
            for value in range(1, count + 1):
                await writer.apply([Put(at, str(value))])
                await asyncio.sleep(0)

        async def consume() -> int:
            async with _watch(watcher, BASE) as hints:
                await _live(hints)
                ready.set()
                while True:
                    item = await one(watcher, at)
                    if item is not None and item.value == str(count):
                        return count
                    await asyncio.sleep(0)
                    await _next(hints, "a later value")

        ready = asyncio.Event()
        consumer = asyncio.create_task(consume())
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([consumer, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not ready.is_set():
            waiting.cancel()
            await consumer
        await write()
        assert await consumer == count

    @requires(watch=True)
    async def test_watchers_do_not_take_each_others_hints(self, pair: Pair) -> None:
        watcher, writer = pair
        at = key(BASE, number(1))
        async with _watch(watcher, BASE) as first, _watch(watcher, BASE) as second, _watch(writer, "") as third:
            for hints in (first, second, third):
                await _live(hints)
            await writer.apply([Put(at, "x")])
            for hints in (first, second, third):
                await _hinted(hints, at)

    @requires(watch=True)
    async def test_a_watcher_that_leaves_disturbs_nobody(self, pair: Pair) -> None:
        watcher, writer = pair
        at = key(BASE, number(1))
        async with _watch(watcher, BASE) as stays:
            await _live(stays)
            async with _watch(watcher, BASE) as leaves:
                await _live(leaves)
            cancelled = asyncio.create_task(_forever(watcher))
            await asyncio.sleep(0.02)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            await writer.apply([Put(at, "x")])
            await _hinted(stays, at)
        await writer.apply([Put(at, "y")])
        item = await one(watcher, at)
        assert item is not None
        assert item.value == "y"

    @requires(watch=True)
    async def test_a_watch_ends_with_its_driver(self, url: str) -> None:
        driver = self.driver(url)
        await driver.open()
        async with _watch(driver, BASE) as hints:
            await _live(hints)
            waiting = asyncio.create_task(_drained(hints))
            await asyncio.sleep(0.01)
            await driver.close()
            done, _ = await asyncio.wait([waiting], timeout=WITHIN)
            if not done:
                waiting.cancel()
                await asyncio.wait([waiting])
            assert done, "a watch waits on although its driver was closed"
            assert isinstance(waiting.exception(), ClosedError), (
                f"a watch of a closed driver ended with {waiting.exception()!r}"
            )

    @requires(watch=True)
    async def test_a_base_must_be_a_key(self, driver: Driver) -> None:
        with pytest.raises(InvalidKeyError):
            await anext(driver.watch("Not A Key"))


async def _forever(driver: Driver) -> None:
    async with _watch(driver, BASE) as hints:
        async for _ in hints:
            pass


async def _drained(hints: Hints) -> None:
    async for _ in hints:
        pass
