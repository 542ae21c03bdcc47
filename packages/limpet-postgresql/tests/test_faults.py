"""What only PostgreSQL can get wrong: credentials, databases, a pool that stays busy."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from limpet import ConfigurationError, UnavailableError
from limpet.driver import Put
from limpet_conformance.servers import running
from limpet_drivers.postgresql import PostgresqlDriver


async def test_credentials_and_databases_that_are_wrong_are_named() -> None:
    server = running("postgresql")
    driver = PostgresqlDriver.from_url(server.url.replace("postgres@", "nobody@"))
    with pytest.raises(ConfigurationError, match="user or the password"):
        await driver.open()
    driver = PostgresqlDriver.from_url(server.url.removesuffix("/postgres") + "/nothing")
    with pytest.raises(ConfigurationError, match="createdb"):
        await driver.open()


async def test_a_pool_that_stays_busy_says_so() -> None:
    server = running("postgresql")
    schema = f"s{uuid4().hex}"
    url = f"{server.url}?schema={schema}&pool_size=1&connect_timeout=0.3"
    async with PostgresqlDriver.from_url(url) as driver:
        await driver.apply([Put("kv!@a", "x")])
        holder = await asyncpg.connect(server.url)
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(f'SELECT * FROM "{schema}".limpet FOR UPDATE')
        waiting = asyncio.create_task(driver.apply([Put("kv!@a", "y")]))
        await asyncio.sleep(0.1)
        with pytest.raises(UnavailableError, match="pool_size"):
            await driver.get(["kv!@a"])
        await transaction.rollback()
        await waiting
        await holder.close()
