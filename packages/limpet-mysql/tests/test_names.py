"""Names and rights: who may open, and which names are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from limpet import ConfigurationError
from limpet.driver import Put
from limpet.driver.kit import parse_url
from limpet.opening import driver_from_url
from limpet_conformance.servers import Server

HOSTS = ("%", "localhost")
"""Some servers have a nameless user at localhost, who goes before everybody from anywhere."""


@pytest.fixture
async def user(sql, server: Server) -> AsyncIterator[str]:  # type: ignore[no-untyped-def]
    """An ordinary user, who may do nothing but connect."""
    name = f"u{uuid4().hex[:20]}"
    for host in HOSTS:
        await sql(f"CREATE USER '{name}'@'{host}' IDENTIFIED BY 'secret'")
    yield name
    for host in HOSTS:
        await sql(f"DROP USER '{name}'@'{host}'")


def as_user(url: str, user: str) -> str:
    return url.replace(f"{parse_url(url).username}@", f"{user}:secret@", 1)


async def write(url: str) -> None:
    async with driver_from_url(url) as driver:
        (outcome,) = await driver.commit([[Put("kv!@a", "1")]])
        assert outcome is None, outcome


async def test_a_user_who_may_create_and_not_drop_opens(sql, url: str, table: str, user: str) -> None:  # type: ignore[no-untyped-def]
    database = parse_url(url).path.strip("/")
    for host in HOSTS:
        await sql(f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW ON {database}.* TO '{user}'@'{host}'")
    await write(as_user(url, user))
    await write(as_user(url, user))


async def test_a_user_with_the_rights_on_the_page_opens_what_another_made(  # type: ignore[no-untyped-def]
    sql, url: str, table: str, user: str
) -> None:
    await write(url)
    database = parse_url(url).path.strip("/")
    for host in HOSTS:
        await sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.{table} TO '{user}'@'{host}'")
        await sql(f"GRANT SELECT ON {database}.{table}_version TO '{user}'@'{host}'")
    await write(as_user(url, user))


async def test_who_was_stopped_while_the_tables_were_made_opens_again(sql, url: str, table: str) -> None:  # type: ignore[no-untyped-def]
    await write(url)
    await sql(f"DROP TABLE {table}_version")
    await write(url)


@pytest.mark.parametrize("part", ["_view", "_version"])
async def test_a_table_under_the_name_of_another_ones_part_is_refused(url: str, table: str, part: str) -> None:
    url, table = url.replace(table, table[:20]), table[:20]
    await write(url)
    with pytest.raises(ConfigurationError, match=f"there is a .*{table}{part} that does not belong to this table"):
        await driver_from_url(url.replace(table, table + part)).open()


async def test_a_table_whose_part_is_there_already_is_refused(url: str, table: str) -> None:
    await write(url.replace(table, f"{table}_view"))
    with pytest.raises(ConfigurationError, match=f"there is a .*{table}_view that does not belong to this table"):
        await driver_from_url(url).open()
