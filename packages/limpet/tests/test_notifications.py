"""Watching a server: what a listening connection tells, and what its end means."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from limpet import ClosedError, ConfigurationError, LimpetError, UnavailableError
from limpet.driver.kit import Subscription, notifications


def of_os(error: Exception) -> LimpetError:
    refused = isinstance(error, PermissionError)
    return ConfigurationError("no right to listen") if refused else UnavailableError("it is away")


class Listening:
    """Every connection that was made to listen, and whether the next one may be made."""

    def __init__(self) -> None:
        self.made: list[Subscription] = []
        self.refused = 0
        self.refuses_with: Exception = ConnectionRefusedError()
        self.closed = False

    @asynccontextmanager
    async def __call__(self, subscription: Subscription) -> AsyncIterator[None]:
        if self.refused:
            self.refused -= 1
            raise self.refuses_with
        self.made.append(subscription)
        yield


async def test_none_first_and_after_every_reconnect_and_between_them_what_lies_below() -> None:
    listening = Listening()
    found = notifications(listening, "kv", errors=(OSError,), translate=of_os, closed=lambda: listening.closed)
    assert await anext(found) is None
    listening.made[0].push("kv!@a\nkv\nkw!@b\nkv!@c")
    listening.made[0].push("other!@a")
    listening.made[0].push("")
    assert await anext(found) == frozenset({"kv!@a", "kv!@c"})
    assert await anext(found) is None, "an empty message says: look again"
    listening.refused = 2
    listening.made[0].end()
    async with asyncio.timeout(5):
        assert await anext(found) is None
    assert len(listening.made) == 2
    await found.aclose()


async def test_it_ends_with_the_driver() -> None:
    listening = Listening()
    found = notifications(listening, "", errors=(OSError,), translate=of_os, closed=lambda: listening.closed)
    assert await anext(found) is None
    listening.closed = True
    listening.made[0].end()
    with pytest.raises(ClosedError):
        await anext(found)


async def test_who_does_not_listen_is_told_to_look_again_and_nothing_piles_up() -> None:
    subscription = Subscription()
    for n in range(100_000):
        subscription.push(f"kv!@{n % 10}")
    assert await subscription.next() == frozenset(f"kv!@{n}" for n in range(10))
    for n in range(100_000):
        subscription.push(f"kv!@{n}" + "x" * 1000)
    subscription.end()
    told = [said async for said in _all(subscription)]
    assert frozenset() in told
    assert sum(map(len, told)) <= 40_000


async def _all(subscription: Subscription) -> AsyncIterator[frozenset[str]]:
    while (said := await subscription.next()) is not None:
        yield said


async def test_an_error_that_is_not_the_clients_is_not_hidden() -> None:
    listening = Listening()
    listening.refused = 1
    with pytest.raises(ConnectionRefusedError):
        await anext(notifications(listening, "", errors=(KeyError,), translate=of_os, closed=lambda: False))


async def test_who_may_not_listen_is_told_and_one_who_could_goes_on_trying() -> None:
    listening = Listening()
    listening.refused, listening.refuses_with = 1, PermissionError()
    with pytest.raises(ConfigurationError, match="no right"):
        await anext(notifications(listening, "", errors=(OSError,), translate=of_os, closed=lambda: listening.closed))
    found = notifications(listening, "", errors=(OSError,), translate=of_os, closed=lambda: listening.closed)
    assert await anext(found) is None
    listening.refused = 2
    listening.made[0].end()
    async with asyncio.timeout(5):
        assert await anext(found) is None
    await found.aclose()
