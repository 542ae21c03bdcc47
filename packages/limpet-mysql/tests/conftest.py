"""A server of each kind, and connections to it past the driver."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import aiomysql
import pymysql
import pytest
from limpet.driver.kit import parse_url
from limpet_conformance.servers import Server, running


class Sql:
    """What a person with a client would do."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def __call__(self, statement: str) -> list[dict[str, Any]]:
        async with self.connection.cursor(aiomysql.DictCursor) as cursor:
            with warnings.catch_warnings(category=pymysql.Warning, action="ignore"):
                await cursor.execute(statement)
            return list(await cursor.fetchall())

    async def value(self, statement: str) -> Any:
        (row,) = await self(statement)
        return next(iter(row.values()))


@pytest.fixture(params=["mysql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    return running(request.param)


@pytest.fixture
def table() -> str:
    return f"t{uuid4().hex}"


@pytest.fixture
def url(server: Server, table: str) -> str:
    return f"{server.url}?table={table}"


@pytest.fixture
def connecting() -> Callable[[str], dict[str, Any]]:
    """What the client libraries are told to reach a URL."""

    def told(url: str) -> dict[str, Any]:
        parts = parse_url(url)
        named = {"host": parts.host, "port": parts.port, "user": parts.username, "password": parts.password or ""}
        return {**named, "db": parts.path.removeprefix("/")}

    return told


@pytest.fixture
async def sql(server: Server, connecting: Callable[[str], dict[str, Any]]) -> AsyncIterator[Sql]:
    async with await aiomysql.connect(**connecting(server.url), autocommit=True) as connection:
        yield Sql(connection)
