"""Clause 1, limits: the declared number is accepted, one more is a typed error, nothing is split silently."""

from __future__ import annotations

import pytest
from limpet import TooLargeError
from limpet.driver import Capabilities, Delete, Driver, If, Key, Put, Write, key, name, number

from .._requires import requires
from .._suite import Section
from ..machinery.outcomes import refused
from ..machinery.reading import one, walk

__all__ = ["Limits"]

MIB = 1024 * 1024
_TRIED = 64 * MIB
"""Larger declared sizes are only tested up to here: a test should not need gigabytes."""


def _keys(count: int) -> list[Key]:
    return [key(name("limits"), number(at)) for at in range(count)]


class Limits(Section):
    """What a driver accepts in one call."""

    async def test_what_every_driver_takes(self, driver: Driver) -> None:
        least = Capabilities()
        declared = driver.capabilities
        assert declared.max_value_bytes >= least.max_value_bytes, "every driver takes 4 MiB a value"
        assert declared.max_batch_bytes >= least.max_batch_bytes, "every driver takes 8 MiB a batch"
        assert declared.max_writes >= least.max_writes, "every driver takes 512 writes in a batch"
        assert declared.max_keys >= least.max_keys, "every driver takes 512 keys in a get"

    @requires(atomic="batch")
    async def test_max_writes(self, driver: Driver) -> None:
        limit = driver.capabilities.max_writes
        keys = _keys(limit + 1)
        await driver.apply([Put(at, "") for at in keys[:limit]])
        ends = await driver.get([keys[0], keys[limit // 2], keys[limit - 1]])
        assert None not in ends, "a batch of max_writes was not written whole"
        last: list[Write] = [Delete(at) for at in keys]
        with pytest.raises(TooLargeError):
            await driver.apply(last)
        assert None not in await driver.get([keys[0], keys[limit // 2], keys[limit - 1]])

    @requires(atomic="batch")
    async def test_a_full_batch_is_not_split(self, driver: Driver) -> None:
        keys = _keys(512)
        await driver.apply([Put(keys[-1], "there")])
        await refused(driver, [*[Put(at, "x") for at in keys[:-1]], Put(keys[-1], "x", If.ABSENT)])
        assert [item.key for item in await walk(driver, limit=1000)] == [keys[-1]], (
            "a refused batch was written in part"
        )

    async def test_max_value_bytes(self, driver: Driver) -> None:
        (at,) = _keys(1)
        limit = driver.capabilities.max_value_bytes
        tried = min(limit, _TRIED)
        await driver.apply([Put(at, b"\xff" * tried)])
        item = await one(driver, at)
        assert item is not None
        assert item.value == b"\xff" * tried
        with pytest.raises(TooLargeError):
            await driver.apply([Put(at, bytes(limit + 1))])
        if limit <= _TRIED:
            with pytest.raises(TooLargeError):  # fewer characters than the limit, but more bytes
                await driver.apply([Put(at, "é" * (limit // 2 + 1))])
        item = await one(driver, at)
        assert item is not None
        assert item.value == b"\xff" * tried, "a value that was refused as too large was written"

    @requires(atomic="batch")
    async def test_max_batch_bytes(self, driver: Driver) -> None:
        declared = driver.capabilities
        tried = min(declared.max_batch_bytes, _TRIED)
        each = min(declared.max_value_bytes, 2 * MIB)
        keys = _keys(tried // each + 2)
        room = tried - len(keys) * len(keys[0])
        puts = []
        for at in keys:
            size = min(each, room)
            puts.append(Put(at, b"x" * size))
            room -= size
        assert room == 0
        await driver.apply(puts)
        assert len(await walk(driver, values=False)) == len(keys)
        if declared.max_batch_bytes <= _TRIED:
            with pytest.raises(TooLargeError):
                await driver.apply([*puts[:-1], Put(keys[-1], b"x" * (len(puts[-1].value) + 1))])

    async def test_max_keys(self, driver: Driver) -> None:
        limit = driver.capabilities.max_keys
        keys = _keys(limit + 1)
        for at in (keys[0], keys[limit - 1]):
            await driver.apply([Put(at, at)])
        items = await driver.get(keys[:limit])
        assert len(items) == limit
        found = {place: item.value for place, item in enumerate(items) if item is not None}
        assert found == {0: keys[0], limit - 1: keys[limit - 1]}
        with pytest.raises(TooLargeError):
            await driver.get(keys)

    async def test_only_the_unit_beyond_a_limit_fails(self, driver: Driver) -> None:
        first, second, third = _keys(3)
        large = bytes(driver.capabilities.max_value_bytes + 1)
        outcomes = await driver.commit([[Put(first, "1")], [Put(second, large)], [Put(third, "3")]])
        assert outcomes[0] is None
        assert isinstance(outcomes[1], TooLargeError)
        assert outcomes[2] is None
        assert [item.key for item in await walk(driver)] == [first, third]
