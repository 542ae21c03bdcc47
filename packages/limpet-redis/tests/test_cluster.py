"""A cluster: slots that move, nodes that die, and stores spread over its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from limpet import ConfigurationError, create_storage
from limpet.driver import Delete, Driver, Put
from limpet_conformance.servers import find, running
from limpet_conformance.servers._redis import RedisCluster as Cluster
from limpet_conformance.servers._server import Program
from limpet_drivers.redis import RedisDriver
from redis.asyncio import RedisCluster

Writing: TypeAlias = "Callable[[Driver], AbstractAsyncContextManager[Any]]"

PARTS = ("items", "order", "expiry")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One of this module's own: its slots are moved and its nodes killed."""
    if not running("redis-cluster").ours:
        pytest.skip("the cluster belongs to somebody else: nothing is done to it")
    own = find("redis-cluster")
    assert isinstance(own, Cluster)
    yield own
    own.end()


def driver_on(cluster: Cluster, **options: object) -> RedisDriver:
    base = str(options.pop("base", uuid4().hex))
    return RedisDriver(cluster.url, base=base, **options)  # type: ignore[arg-type]


class Move:
    """The move of a store's slot to another node, step by step as `redis-cli --cluster reshard` does it."""

    def __init__(self, cluster: Cluster, base: str) -> None:
        self.cluster = cluster
        self.keys = [f"{{{base}}}:{part}" for part in PARTS]
        self.slot = cluster.ask(cluster.members[0], "CLUSTER", "KEYSLOT", self.keys[0])
        self.source = cluster.owner(self.keys[0])
        self.target = next(node for node in cluster.members if node is not self.source)
        self.ids = {node: cluster.ask(node, "CLUSTER", "MYID") for node in (self.source, self.target)}

    async def begin(self) -> None:
        await self._ask(self.target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.ids[self.source])
        await self._ask(self.source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.ids[self.target])

    async def carry(self, *keys: str) -> None:
        await self._ask(self.source, "MIGRATE", "127.0.0.1", str(self.target.port), "", "0", "5000", "KEYS", *keys)

    async def end(self) -> None:
        for node in (self.target, self.source, *self.cluster.members):
            await self._ask(node, "CLUSTER", "SETSLOT", self.slot, "NODE", self.ids[self.target])

    async def _ask(self, node: Program, *words: str) -> None:
        said = await asyncio.to_thread(self.cluster.ask, node, *words)
        assert said in ("OK", "NOKEY"), said


async def until_it_goes_on(writers: Any, before: int) -> None:
    until = monotonic() + 20
    while writers.batches < before + 10:
        assert monotonic() < until, "it does not go on"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("borrowed", [False, True], ids=["own", "borrowed"])
async def test_a_slot_moves_during_writes(cluster: Cluster, writing: Writing, borrowed: bool) -> None:
    base = uuid4().hex
    client = RedisCluster.from_url(f"redis://127.0.0.1:{cluster.members[0].port}") if borrowed else None
    async with driver_on(cluster, base=base, client=client) as driver:
        async with writing(driver) as writers:
            for _ in range(3):
                move = Move(cluster, base)
                await asyncio.sleep(0.1)
                await move.begin()
                await asyncio.sleep(0.1)
                for key in move.keys:  # one after the other: in between the store is on two nodes, and nowhere
                    await move.carry(key)
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.2)
                before = writers.batches
                await move.end()
                await until_it_goes_on(writers, before)
                assert cluster.owner(move.keys[0]) is move.target
        assert (writers.lost, writers.refused) == (0, 0), "whoever writes has to notice nothing but a wait"
        assert writers.batches > 50
        await writers.check(driver)
    if client is not None:
        await client.aclose()


async def test_what_ends_a_key_while_its_slot_moves_is_done_whole(cluster: Cluster) -> None:
    base = uuid4().hex
    names = [f"kv!@{n:05}" for n in range(9000)]
    async with driver_on(cluster, base=base, timeout=5) as driver:
        await driver.apply([Put(name, "x", ttl_ms=60_000) for name in names])
        move = Move(cluster, base)
        await move.begin()
        # Nine thousand items go in several calls within one script, and with the last of them the keys themselves.
        writing = asyncio.create_task(driver.apply([*map(Delete, names[1:]), Put(names[0], "y")]))
        await asyncio.sleep(0.5)
        assert cluster.ask(move.source, "HLEN", move.keys[0]) == "1"
        await writing
        await move.carry(*move.keys)
        await move.end()
        items = await driver.get(names[:2])
        assert [item and item.value for item in items] == ["y", None]


@pytest.mark.slow
async def test_a_node_is_killed_and_comes_back(cluster: Cluster, writing: Writing) -> None:
    base = uuid4().hex
    async with driver_on(cluster, base=base) as driver:
        async with writing(driver) as writers:
            for pause in (0.2, 4.0):  # before and after the others have noticed
                await asyncio.sleep(0.3)
                node = cluster.owner(f"{{{base}}}:items")
                await asyncio.to_thread(node.kill)
                await asyncio.sleep(pause)
                await asyncio.to_thread(node.start)
                await until_it_goes_on(writers, writers.batches)
        assert writers.refused == 0, "what was not sent waits for the node"
        await writers.check(driver)


@pytest.mark.slow
async def test_a_replica_takes_over(writing: Writing) -> None:
    if not running("redis-cluster").ours:
        pytest.skip("the cluster belongs to somebody else: nothing is done to it")
    cluster = Cluster(3, 1)
    base = uuid4().hex
    items = f"{{{base}}}:items"
    try:
        async with driver_on(cluster, base=base) as driver:
            async with writing(driver) as writers:
                await asyncio.sleep(0.3)
                primary = cluster.owner(items)
                replica = follower(cluster, primary)
                assert cluster.ask(replica, "CLUSTER", "FAILOVER") == "OK"  # by agreement: it waits until it has all
                await until_owner(cluster, items, replica)
                await asyncio.sleep(0.5)
            assert writers.refused == 0
            await writers.check(driver)

            await driver.apply([Put("kv!@kept", "x")])
            assert cluster.ask(replica, "WAIT", "1", "5000") >= "1"
            await asyncio.to_thread(replica.kill)
            started = monotonic()
            await driver.apply([Put("kv!@after", "x")])  # by force: it waits for who takes over
            assert monotonic() - started < 20
            assert cluster.owner(items) is primary
            assert all(await driver.get(["kv!@kept", "kv!@after"]))
            await asyncio.to_thread(replica.start)
    finally:
        cluster.end()


def follower(cluster: Cluster, primary: Program) -> Program:
    said = cluster.ask(primary, "CLUSTER", "REPLICAS", cluster.ask(primary, "CLUSTER", "MYID"))
    port = int(said.split()[1].partition("@")[0].rpartition(":")[2])
    return next(node for node in cluster.members if node.port == port)


async def until_owner(cluster: Cluster, key: str, node: Program) -> None:
    until = monotonic() + 20
    while cluster.owner(key) is not node:
        assert monotonic() < until, "the replica does not take over"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("shared", [False, True], ids=["own", "borrowed"])
async def test_stores_are_spread_by_their_bases_and_each_is_in_one_slot(cluster: Cluster, shared: bool) -> None:
    run = uuid4().hex
    client = RedisCluster.from_url(f"redis://127.0.0.1:{cluster.members[0].port}") if shared else None
    for n in range(30):
        driver = driver_on(cluster, base=f"{run}-{n}", client=client, pool_size=1)
        async with create_storage(driver) as storage:
            await storage.set_item("a", n, ttl=100)
            await storage.set_items({f"k{m}": m for m in range(20)})
            assert await storage.get_item("a") == n
    counts = [
        int(cluster.ask(node, "EVAL", f"return #redis.call('KEYS', '{{{run}*')", "0")) for node in cluster.members
    ]
    assert sum(counts) == 90, "three keys each"
    assert all(counts), "every node has some of the stores"
    assert all(each % 3 == 0 for each in counts), "and each whole"
    if client is not None:
        await client.aclose()


async def test_nothing_but_our_keys_is_removed(cluster: Cluster) -> None:
    base = uuid4().hex
    async with RedisCluster.from_url(f"redis://127.0.0.1:{cluster.members[0].port}") as client:
        await client.set(f"{{{base}}}:mine", "x")
        async with create_storage(driver_on(cluster, base=base)) as storage:
            await storage.set_item("a", 1)
            await storage.clear()
            await storage.aclose()
        assert await client.get(f"{{{base}}}:mine") == b"x"
        assert await client.exists(*(f"{{{base}}}:{part}" for part in PARTS)) <= 2, "the manifest stays"


async def test_the_wrong_scheme_is_named(cluster: Cluster) -> None:
    base = "somewhere"
    away = next(node for node in cluster.members if node is not cluster.owner(f"{{{base}}}:items"))
    driver = RedisDriver(away.url, base=base)
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        async with driver:
            await driver.get(["kv!@a"])
    single = running("redis").url.replace("redis://", "redis+cluster://")
    with pytest.raises(ConfigurationError, match="not a cluster"):
        await RedisDriver(single).open()
