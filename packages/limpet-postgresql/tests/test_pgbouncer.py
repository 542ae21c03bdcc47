"""Through a real PgBouncer in transaction mode: many tasks on few connections, and what happens when nobody says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import asyncpg
import pytest
from limpet import ConfigurationError, OutcomeUnknownError, UnavailableError, create_storage
from limpet.driver import If, Put
from limpet_conformance.servers import find, running
from limpet_conformance.servers._postgresql import PgBouncer, pgbouncer
from limpet_drivers.postgresql import PostgresqlDriver


@pytest.fixture(scope="module")
def pooler() -> Iterator[PgBouncer]:
    if not running("pgbouncer").ours:
        pytest.skip("the pooler belongs to somebody else: it is not looked into")
    own = find("pgbouncer")
    assert isinstance(own, PgBouncer)
    yield own
    own.end()


def url(pooler: PgBouncer, **options: object) -> str:
    options = {"schema": f"s{uuid4().hex}", "pgbouncer": "true", **options}
    return f"{pooler.url}?" + "&".join(f"{name}={value}" for name, value in options.items())


async def test_a_thousand_tasks_share_five_connections(pooler: PgBouncer) -> None:
    async with (
        create_storage(url(pooler)) as storage,
        PostgresqlDriver.from_url(url(pooler, pool_size=100)) as driver,
    ):
        await asyncio.gather(*(storage.set_item(f"k{n}", n) for n in range(1000)))
        assert await asyncio.gather(*(storage.get_item(f"k{n}") for n in range(1000))) == list(range(1000))
        await asyncio.gather(*(driver.apply([Put(f"kv!@{n}", "x"), Put(f"kv!@{n}!@copy", "x")]) for n in range(1000)))
        found = await asyncio.gather(*(driver.get([f"kv!@{n}", f"kv!@{n}!@copy"]) for n in range(1000)))
        assert all(all(pair) for pair in found)
        server = await asyncpg.connect(pooler.server.url)
        count = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        assert await server.fetchval(count) <= 5
        await server.close()


async def test_who_does_not_say_so_is_told(pooler: PgBouncer) -> None:
    with pytest.raises(ConfigurationError, match="pgbouncer=true"):
        await PostgresqlDriver.from_url(url(pooler, pgbouncer="false")).open()


async def test_who_does_not_say_so_is_told_where_the_pooler_keeps_quiet_about_settings() -> None:
    quiet = pgbouncer("ignore_startup_parameters = jit,default_transaction_isolation")
    if quiet is None:
        pytest.skip("pgbouncer is not installed")
    try:
        with pytest.raises(ConfigurationError, match="pgbouncer=true"):
            await PostgresqlDriver.from_url(url(quiet, pgbouncer="false")).open()
    finally:
        quiet.end()


async def test_a_user_whom_it_does_not_know_is_named(pooler: PgBouncer) -> None:
    with pytest.raises(ConfigurationError, match="user or the password"):
        await PostgresqlDriver.from_url(url(pooler).replace("postgres@", "nobody@")).open()


async def test_either_of_the_two_dies_in_the_middle_of_writes(pooler: PgBouncer) -> None:
    async with PostgresqlDriver.from_url(url(pooler, timeout=5)) as driver:
        acknowledged: dict[str, str] = {}
        maybe: dict[str, set[str]] = {}
        stopped = asyncio.Event()

        async def write(writer: int) -> None:
            n = 0
            while not stopped.is_set():
                n += 1
                key, value = f"kv!@{writer}", str(n)
                try:
                    await driver.apply([Put(key, value), Put(f"{key}!@copy", value)])
                except OutcomeUnknownError:
                    maybe.setdefault(key, set()).add(value)
                except UnavailableError:
                    await asyncio.sleep(0.01)
                else:
                    acknowledged[key] = value
                    maybe.pop(key, None)

        tasks = [asyncio.create_task(write(n)) for n in range(4)]
        for victim in (pooler.server, pooler.pooler):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(victim.kill)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(victim.start)
        await asyncio.sleep(0.5)
        stopped.set()
        await asyncio.gather(*tasks)
        async with asyncio.timeout(20):
            while True:  # the pooler tries again to reach the server after a while
                try:
                    await driver.apply([Put("kv!@after", "x", If.ABSENT)])
                except UnavailableError:
                    await asyncio.sleep(0.1)
                else:
                    break
        assert len(acknowledged) == 4
        for key, value in acknowledged.items():
            first, copy = await driver.get([key, f"{key}!@copy"])
            assert first is not None
            assert copy is not None
            assert first.value == copy.value, "half of a batch"
            assert first.value in {value, *maybe.get(key, ())}
