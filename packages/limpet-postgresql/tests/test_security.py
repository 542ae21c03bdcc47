"""Code of other roles never runs as the application, and the view shows nobody more than they may see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from limpet import ConfigurationError
from limpet.driver import Append, Check, If, Put, Range
from limpet_conformance.servers import running
from limpet_drivers.postgresql import PostgresqlDriver

TRAPS = """
CREATE TABLE public.loot (who text);
GRANT INSERT ON public.loot TO PUBLIC;
CREATE FUNCTION public.spring() RETURNS void LANGUAGE sql AS $$ INSERT INTO public.loot VALUES (current_user) $$;
CREATE FUNCTION public.convert_from(bytea, text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.spring(); RETURN pg_catalog.convert_from($1, $2::name); END $$;
CREATE FUNCTION public.lpad(text, integer, varchar) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.spring(); RETURN pg_catalog.lpad($1, $2, $3::text); END $$;
CREATE FUNCTION public.plus(numeric, bigint) RETURNS numeric LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.spring(); RETURN $1 OPERATOR(pg_catalog.+) $2::numeric; END $$;
CREATE OPERATOR public.+ (FUNCTION = public.plus, LEFTARG = numeric, RIGHTARG = bigint);
CREATE FUNCTION public.times(numeric, integer) RETURNS numeric LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.spring(); RETURN $1 OPERATOR(pg_catalog.*) $2::numeric; END $$;
CREATE OPERATOR public.* (FUNCTION = public.times, LEFTARG = numeric, RIGHTARG = integer);
CREATE FUNCTION public.over(bigint, numeric) RETURNS numeric LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.spring(); RETURN $1::numeric OPERATOR(pg_catalog./) $2; END $$;
CREATE OPERATOR public./ (FUNCTION = public.over, LEFTARG = bigint, RIGHTARG = numeric);
CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.spring(); RETURN 0; END $$;
"""
"""Functions and operators that fit calls better than those of PostgreSQL, as in CVE-2018-1058."""


class Database:
    """One of the test's own, with a role that may create in `public`, as everybody could up to PostgreSQL 14."""

    def __init__(self, owner: asyncpg.Connection, low: asyncpg.Connection, url: str) -> None:
        self.owner, self.low, self.url = owner, low, url


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    url = running("postgresql").url
    name, role = f"d{uuid4().hex}", f"r{uuid4().hex}"
    server = await asyncpg.connect(url)
    await server.execute(f"CREATE DATABASE {name}")
    await server.execute(f"CREATE ROLE {role} LOGIN")
    at = url.rpartition("/")[0] + f"/{name}"
    owner = await asyncpg.connect(at)
    await owner.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    low = await asyncpg.connect(at, user=role)
    try:
        yield Database(owner, low, at)
    finally:
        await low.close()
        await owner.close()
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.execute(f"DROP ROLE {role}")
        await server.close()


async def everything(driver: PostgresqlDriver) -> None:
    """Every statement there is."""
    async with driver:
        await driver.commit([[Put("kv!@a", "1", ttl_ms=60_000)], [Put("kv!@b", b"2")]])
        await driver.commit([[Put("kv!@a", "3", If.PRESENT), Put("kv!@c", "{}", If.ABSENT)], [Put("kv!n", "0")]])
        for _ in range(2):
            await driver.commit([Append("kv!n", (Put("kv!e", "x", ttl_ms=60_000),), Check("kv!@a"))])
        await driver.get(["kv!@a"])
        await driver.scan(Range("kv"))
        await driver.health()
        await driver.purge()
        await driver.clear("kv")


@pytest.mark.parametrize("whose", ["ours", "the application's pool", "pgbouncer"])
@pytest.mark.parametrize("before", [True, False], ids=["before the tables", "after the tables"])
async def test_traps_in_a_schema_on_the_path_are_not_sprung(database: Database, whose: str, before: bool) -> None:
    query = f"?schema=agents&watch={'false' if whose == 'pgbouncer' else 'true'}"
    if before:
        await database.low.execute(TRAPS)
    else:
        await everything(PostgresqlDriver.from_url(f"{database.url}{query}"))
        await database.low.execute(TRAPS)
    if whose == "the application's pool":
        async with asyncpg.create_pool(database.url, min_size=1, max_size=4) as pool:
            await everything(PostgresqlDriver(pool=pool, schema="agents", watch=True))
    else:
        await everything(
            PostgresqlDriver.from_url(database.url + query + ("&pgbouncer=true" if whose == "pgbouncer" else ""))
        )
    await database.owner.fetch("SET search_path = pg_catalog")
    await database.owner.fetch("SELECT * FROM agents.limpet_view")
    assert await database.owner.fetch("SELECT who FROM public.loot") == []


async def test_a_pool_that_looks_elsewhere_before_pg_catalog_is_refused(database: Database) -> None:
    settings = {"search_path": "public, pg_catalog"}
    async with asyncpg.create_pool(database.url, min_size=1, max_size=1, server_settings=settings) as pool:
        with pytest.raises(ConfigurationError, match="public before pg_catalog"):
            await PostgresqlDriver(pool=pool).open()


async def test_the_view_does_not_go_around_row_security(database: Database) -> None:
    if int(await database.owner.fetchval("SELECT current_setting('server_version_num')")) < 150_000:
        pytest.skip("PostgreSQL before 15 has no views that read as who asks them")
    async with PostgresqlDriver.from_url(f"{database.url}?schema=agents") as driver:
        await driver.commit([[Put("kv!@shown", "1"), Put("kv!@hidden", "2")]])
    role = await database.low.fetchval("SELECT current_user")
    await database.owner.execute(
        f"""
        GRANT USAGE ON SCHEMA agents TO {role};
        GRANT SELECT ON agents.limpet, agents.limpet_view TO {role};
        ALTER TABLE agents.limpet ENABLE ROW LEVEL SECURITY;
        CREATE POLICY shown ON agents.limpet TO {role} USING (key NOT LIKE '%hidden')
        """
    )
    assert [row["key"] for row in await database.low.fetch("SELECT key FROM agents.limpet_view")] == ["kv!@shown"]
