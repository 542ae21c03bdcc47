"""The driver passes the conformance suite on MySQL and on MariaDB: with either client library, and with one statement at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar
from uuid import uuid4

import aiomysql
import asyncmy
import pytest
from limpet.driver import Capabilities
from limpet.driver.kit import parse_url
from limpet_conformance import Borrowed, DriverConformance
from limpet_conformance.servers import running
from limpet_drivers.mysql import MysqlDriver


def connecting(url: str) -> dict[str, Any]:
    """What the client libraries are told."""
    parts = parse_url(url)
    return {
        "host": parts.host,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password or "",
        "db": parts.path.removeprefix("/"),
    }


def with_packets_of(mib: int) -> Capabilities:
    """What is declared where max_allowed_packet is so much: a value goes there in hexadecimal digits."""
    return replace(MysqlDriver.capabilities, max_value_bytes=(mib * 1024 - 64) * 1024 // 2)


class OnServer(DriverConformance):
    __test__ = False
    kind: ClassVar[str]
    options: ClassVar[str] = ""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        server = running(self.kind)
        self.note("origin", server.origin)
        table = f"t{uuid4().hex}"
        yield f"{server.url}?table={table}{self.options}"
        connection = await aiomysql.connect(**connecting(server.url))
        async with connection, connection.cursor() as cursor:
            await cursor.execute(f"SHOW TABLES LIKE '{table}%'")
            for (name,) in await cursor.fetchall():
                await cursor.execute(f"DROP {'VIEW' if name.endswith('_view') else 'TABLE'} {name}")

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        library: Any = asyncmy if "asyncmy" in self.options else aiomysql
        how = connecting(url)
        table = parse_url(url).query["table"]
        async with (
            library.create_pool(**how, minsize=1, maxsize=4) as pool,
            library.create_pool(
                **how, minsize=1, maxsize=4, charset="latin1", sql_mode="''", conv={},
                init_command="SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE; SET time_zone = '-11:00'",
            ) as odd,
        ):  # fmt: skip

            async def still_works() -> None:
                async with pool.acquire() as connection, connection.cursor() as cursor:
                    await cursor.execute("SELECT 1")

            yield Borrowed(
                make=lambda: MysqlDriver(pool=pool, table=table),
                still_works=still_works,
                settings={"charset": lambda: MysqlDriver(pool=odd, table=table)},
            )


class TestOnMysql(OnServer):
    __test__ = True
    capabilities = with_packets_of(64)
    kind = "mysql"


@pytest.mark.again
class TestOnMariadb(OnServer):
    __test__ = True
    capabilities = with_packets_of(16)
    kind = "mariadb"


@pytest.mark.exhaustive
@pytest.mark.again
class TestOnMysqlByAsyncmy(TestOnMysql):
    capabilities = replace(MysqlDriver.capabilities, max_value_bytes=15 * 1024 * 1024)  # it reads no row of 16 MiB
    options = "&client=asyncmy"
    effort = 0.3


@pytest.mark.exhaustive
@pytest.mark.again
class TestOnMariadbByAsyncmy(TestOnMariadb):
    options = "&client=asyncmy"
    effort = 0.3


@pytest.mark.exhaustive
@pytest.mark.again
class TestOnMysqlOneStatementAtATime(TestOnMysql):
    options = "&multi_statements=false"
    effort = 0.3
