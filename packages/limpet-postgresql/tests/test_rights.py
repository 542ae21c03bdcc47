"""Who may open: an ordinary role, and no database or name with which something would go wrong later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from limpet import ConfigurationError, ReadOnlyError
from limpet.driver import Put
from limpet_conformance.servers import running
from limpet_drivers.postgresql import PostgresqlDriver


@pytest.fixture
async def psql() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(running("postgresql").url)
    yield connection
    await connection.close()


@pytest.fixture
async def role(psql: asyncpg.Connection) -> AsyncIterator[str]:
    """An ordinary role: it may do nothing but connect."""
    name = f"r{uuid4().hex}"
    await psql.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    await psql.execute(f"DROP OWNED BY {name}")
    await psql.execute(f"DROP ROLE {name}")


@pytest.fixture
def schema() -> str:
    return f"s{uuid4().hex}"


def driver_for(role: str, schema: str, **options: object) -> PostgresqlDriver:
    query = "".join(f"&{name}={value}" for name, value in options.items())
    url = running("postgresql").url.replace("postgres@", f"{role}@", 1)
    return PostgresqlDriver.from_url(f"{url}?schema={schema}{query}")


async def write(driver: PostgresqlDriver) -> None:
    async with driver:
        (outcome,) = await driver.commit([[Put("kv!@a", "1")]])
        assert outcome is None, outcome


async def test_a_role_that_may_create_in_the_schema_alone_opens(
    psql: asyncpg.Connection, role: str, schema: str
) -> None:
    await psql.execute(f"CREATE SCHEMA {schema}")
    await psql.execute(f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}")
    await write(driver_for(role, schema))
    await write(driver_for(role, schema, watch="true"))


async def test_a_role_with_the_rights_on_the_page_opens_what_another_made(
    psql: asyncpg.Connection, role: str, schema: str
) -> None:
    await write(driver_for("postgres", schema))
    await psql.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await psql.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.limpet TO {role}")
    await psql.execute(f"GRANT SELECT ON {schema}.limpet_version TO {role}")
    await write(driver_for(role, schema))


async def test_a_role_that_may_only_read_opens_and_is_told_when_it_writes(
    psql: asyncpg.Connection, role: str, schema: str
) -> None:
    await write(driver_for("postgres", schema))
    await psql.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await psql.execute(f"GRANT SELECT ON {schema}.limpet, {schema}.limpet_version TO {role}")
    async with driver_for(role, schema) as driver:
        assert [item and item.value for item in await driver.get(["kv!@a"])] == ["1"]
        (outcome,) = await driver.commit([[Put("kv!@a", "2")]])
        assert isinstance(outcome, ReadOnlyError)


async def test_a_role_without_rights_is_told_so(role: str, schema: str) -> None:
    with pytest.raises(ReadOnlyError, match="grant the privileges"):
        await driver_for(role, schema).open()


async def test_a_database_that_cannot_hold_all_text_is_refused(psql: asyncpg.Connection) -> None:
    name = f"d{uuid4().hex}"
    await psql.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        url = running("postgresql").url.rpartition("/")[0] + f"/{name}"
        with pytest.raises(ConfigurationError, match="encoding is LATIN1"):
            await PostgresqlDriver.from_url(url).open()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'limpet%'") == 0
        await connection.close()
    finally:
        await psql.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("name", ["x_view", "x_version", "x_expiry"])
async def test_a_table_under_the_name_of_another_ones_part_is_refused(schema: str, name: str) -> None:
    await write(driver_for("postgres", schema, table="x"))
    with pytest.raises(ConfigurationError, match=rf'there is a .*"{name}" that does not belong to this table'):
        await driver_for("postgres", schema, table=name).open()


async def test_a_table_whose_part_is_there_already_is_refused(psql: asyncpg.Connection, schema: str) -> None:
    await write(driver_for("postgres", schema, table="x_view"))
    with pytest.raises(ConfigurationError, match=r'there is a .*"x_view" that does not belong to this table'):
        await driver_for("postgres", schema, table="x").open()
    await psql.execute(f"CREATE TABLE {schema}.theirs (a int)")
    with pytest.raises(ConfigurationError, match=r'there is a .*"theirs" that does not belong to this table'):
        await driver_for("postgres", schema, table="theirs").open()


async def test_the_longest_names_work_with_watch_too() -> None:
    schema = f"s{uuid4().hex}".ljust(40, "s")
    async with driver_for("postgres", schema, table="t" * 40, watch="true") as driver:
        hints = driver.watch("kv")
        assert await anext(hints) is None
        await driver.commit([[Put("kv!@a", "1")]])
        assert await anext(hints) == frozenset({"kv!@a"})
        await hints.aclose()
