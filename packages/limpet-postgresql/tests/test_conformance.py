"""The driver on PostgreSQL passes the conformance suite: with a pool of its own, watching, and on the application's pool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
from limpet_conformance import Borrowed, DriverConformance
from limpet_conformance.servers import running
from limpet_drivers.postgresql import PostgresqlDriver


@asynccontextmanager
async def empty_schema(kind: str = "postgresql", **options: object) -> AsyncIterator[str]:
    """The URL of a schema that does not exist yet, and that is dropped afterwards."""
    server = running(kind)
    schema = f"s{uuid4().hex}"
    yield f"{server.url}?schema={schema}" + "".join(f"&{name}={value}" for name, value in options.items())
    connection = await asyncpg.connect(server.url, statement_cache_size=0)
    try:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    finally:
        await connection.close()


class TestPostgresqlDriver(DriverConformance):
    capabilities = replace(PostgresqlDriver.capabilities, watch=False)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        async with empty_schema() as url:
            self.note("origin", running("postgresql").origin)
            yield url

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        base, _, query = url.partition("?")
        schema = query.removeprefix("schema=")
        async with asyncpg.create_pool(base, min_size=1, max_size=4) as pool:
            yield Borrowed(
                make=lambda: PostgresqlDriver(pool=pool, schema=schema),
                still_works=lambda: pool.fetchval("SELECT 1"),
            )


@pytest.mark.again
class TestPostgresqlDriverWatching(DriverConformance):
    capabilities = PostgresqlDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        async with empty_schema(watch="true") as url:
            yield url


@pytest.mark.exhaustive
@pytest.mark.again
class TestPostgresqlDriverThroughPgBouncer(DriverConformance):
    """In transaction mode: each transaction may be on another connection of the server."""

    capabilities = replace(PostgresqlDriver.capabilities, watch=False)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        async with empty_schema("pgbouncer", pgbouncer="true") as url:
            self.note("origin", running("pgbouncer").origin)
            yield url
