"""Sentinels: they say where the primary is, and another one takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from limpet import ConfigurationError, UnavailableError
from limpet.driver import Driver, If, Put
from limpet_conformance.servers import find, free_port, running
from limpet_conformance.servers._redis import RedisSentinels
from limpet_conformance.servers._server import Program
from limpet_drivers.redis import RedisDriver

Writing: TypeAlias = "Callable[[Driver], AbstractAsyncContextManager[Any]]"


@pytest.fixture(scope="module")
def sentinels() -> Iterator[RedisSentinels]:
    """Of this module's own: their primary is killed."""
    if not running("redis-sentinel").ours:
        pytest.skip("the sentinels belong to somebody else: nothing is done to them")
    own = find("redis-sentinel")
    assert isinstance(own, RedisSentinels)
    yield own
    own.end()


def driver_on(sentinels: RedisSentinels, **options: object) -> RedisDriver:
    return RedisDriver(sentinels.url, base=uuid4().hex, **options)  # type: ignore[arg-type]


async def test_a_replica_is_not_taken_for_the_primary(sentinels: RedisSentinels) -> None:
    replica = next(server for server in sentinels.servers if server is not sentinels.primary())
    async with RedisDriver(replica.url, base=uuid4().hex) as driver:
        assert any("replica" in problem for problem in (await driver.health()).problems)
        with pytest.raises(PermissionError, match="primary"):
            await driver.apply([Put("kv!@a", "x")])


async def test_too_few_replicas_are_a_refusal_and_no_loss(sentinels: RedisSentinels) -> None:
    primary = sentinels.primary()
    async with driver_on(sentinels, timeout=1) as driver:
        assert any("min-replicas-to-write" in problem for problem in (await driver.health()).problems)
        await driver.apply([Put("kv!@a", "before")])
        sentinels.ask(primary, "CONFIG", "SET", "min-replicas-to-write", "2")
        try:
            with pytest.raises(UnavailableError, match="too few replicas"):
                await driver.apply([Put("kv!@a", "after"), Put("kv!@b", "x")])
        finally:
            sentinels.ask(primary, "CONFIG", "SET", "min-replicas-to-write", "0")
        items = await driver.get(["kv!@a", "kv!@b"])
        assert [item and item.value for item in items] == ["before", None]


async def test_one_sentinel_is_enough_and_none_is_an_error(sentinels: RedisSentinels) -> None:
    there = sentinels.sentinels[0].port
    nowhere = f"127.0.0.1:{free_port()}"
    async with RedisDriver(f"redis+sentinel://{nowhere},127.0.0.1:{there}/mymaster", base=uuid4().hex) as driver:
        assert await driver.get(["kv!@a"]) == [None]
    started = monotonic()
    with pytest.raises(UnavailableError, match="no sentinel can say"):
        await RedisDriver(f"redis+sentinel://{nowhere}/mymaster", connect_timeout=1).open()
    assert monotonic() - started < 3
    with pytest.raises(ConfigurationError, match="SENTINEL MASTERS"):
        await RedisDriver(f"redis+sentinel://127.0.0.1:{there}/another").open()


@pytest.mark.slow
async def test_the_primary_is_killed_and_the_replica_takes_over(sentinels: RedisSentinels, writing: Writing) -> None:
    async with driver_on(sentinels) as driver:
        hints = driver.watch("kv")
        assert await anext(hints) is None
        await driver.apply([Put("kv!@before", "x")])
        assert await anext(hints) == frozenset({"kv!@before"})
        first = sentinels.primary()
        assert sentinels.ask(first, "WAIT", "1", "5000") == "1"  # without it a failover may cost what is newest
        await asyncio.to_thread(first.kill)
        started = monotonic()
        await driver.apply([Put("kv!@after", "x", If.ABSENT)])  # it waits until another one was chosen
        assert 0.5 < monotonic() - started < 25
        second = sentinels.primary()
        assert second is not first
        assert all(await driver.get(["kv!@before", "kv!@after"]))
        async with asyncio.timeout(10):
            assert await anext(hints) is None, "look again"
            await driver.apply([Put("kv!@later", "x")])
            assert await anext(hints) == frozenset({"kv!@later"})
        await hints.aclose()

        await asyncio.to_thread(first.start)  # as a replica, once the sentinels have told it
        await asyncio.to_thread(sentinels.settle)
        async with writing(driver) as writers:
            await asyncio.sleep(0.3)
            assert sentinels.ask(sentinels.sentinels[0], "SENTINEL", "FAILOVER", "mymaster") == "OK"
            until = monotonic() + 30
            while sentinels.primary() is not first:
                assert monotonic() < until, "nobody takes over"
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            left, before = scripts(sentinels, second), writers.batches
            while writers.batches < before + 50:
                assert monotonic() < until, "it does not go on"
                await asyncio.sleep(0.05)
            # It takes writes for ten seconds more, and drops them as soon as the sentinels make a replica of it.
            assert scripts(sentinels, second) == left, "somebody still writes to the primary that was replaced"
            assert "master" in sentinels.ask(second, "ROLE")
        assert writers.refused == 0


def scripts(sentinels: RedisSentinels, server: Program) -> str:
    """How many scripts a server has run."""
    stats = sentinels.ask(server, "INFO", "commandstats").splitlines()
    return next(line for line in stats if line.startswith("cmdstat_evalsha:"))
