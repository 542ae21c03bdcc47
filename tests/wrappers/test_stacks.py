"""Wrappers around wrappers: whole stacks pass the suite, and stores find what they kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import permutations

import pytest
from limpet import ConfigurationError, create_persistence
from limpet.driver import Driver, MemoryDriver, Range
from limpet.records import UserMessage
from limpet.wrappers import (
    Cached,
    Compressed,
    Encrypted,
    Traced,
    Wrapper,
    cached,
    compressed,
    encrypted,
    layers,
    read_only,
    traced,
)
from limpet_conformance import DriverConformance

pytestmark = pytest.mark.again

KEY = "5c" * 32
ALL: dict[str, Callable[[Driver], Driver]] = {
    "traced": traced(),
    "cached": cached(),
    "compressed": compressed(threshold=64),
    "encrypted": encrypted(key=KEY),
    "read_only": read_only(),
}


class Outermost(Wrapper):
    capabilities = Traced(Cached(Compressed(Encrypted(MemoryDriver())))).capabilities


def plain_kept(url: str) -> Driver:
    return Outermost(Traced(Cached(Compressed(Encrypted(MemoryDriver.from_url(url), key=KEY), threshold=64))))


def sealed_kept(url: str) -> Driver:
    return Outermost(Compressed(Encrypted(Cached(Traced(MemoryDriver.from_url(url))), key=KEY), threshold=64))


@pytest.mark.exhaustive
class TestPlainItemsKept(DriverConformance):
    factory = f"{__name__}:plain_kept"
    capabilities = Outermost.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"


@pytest.mark.exhaustive
class TestSealedItemsKept(TestPlainItemsKept):
    factory = f"{__name__}:sealed_kept"


@pytest.mark.parametrize("names", [*permutations(name for name in ALL if name != "read_only")], ids=" ".join)
async def test_every_order_works_or_is_refused(names: tuple[str, ...]) -> None:
    wrappers = [ALL[name] for name in names]
    if names.index("compressed") > names.index("encrypted"):
        with pytest.raises(ConfigurationError, match="Encrypted around Compressed"):
            await create_persistence("memory://", wrappers=wrappers)
        return
    async with MemoryDriver() as driver:
        for turn in range(2):
            async with create_persistence(driver, wrappers=wrappers) as persistence:
                assert [type(layer).__name__.lower() for layer in layers(persistence.driver)][1:5] == list(names)
                await persistence.sessions.add_message("s", UserMessage(content="canary " * 50), create=True)
                assert len(await persistence.sessions.get_messages("s")) == turn + 1
        async with create_persistence(driver, wrappers=[*wrappers, read_only()]) as persistence:
            assert len(await persistence.sessions.get_messages("s")) == 2
        assert "canary" not in str(list((await driver.scan(Range(""))).items))
