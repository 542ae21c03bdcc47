"""What only these servers can get wrong: accounts, databases, TLS, settings, locks that others hold, the application's pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiomysql
import asyncmy
import pytest
from limpet import ConfigurationError, ReadOnlyError, UnavailableError
from limpet.driver import If, Put
from limpet.driver.kit import backend_now_ms, parse_url
from limpet.opening import driver_from_url
from limpet_conformance.servers import Server, find, running
from limpet_drivers.mysql import MysqlDriver

if TYPE_CHECKING:
    Told = Callable[[str], dict[str, Any]]

LIBRARIES = ("aiomysql", "asyncmy")


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One of this module's own: its settings are changed."""
    if not running(request.param).ours:
        pytest.skip("the server belongs to somebody else: its settings are not changed")
    own = find(request.param)
    yield own
    own.end()


@pytest.fixture
async def ada(sql: Any, server: Server) -> AsyncIterator[str]:
    """The URL of an account that may do everything in one database, with a password."""
    name = f"ada{uuid4().hex[:8]}"
    await sql(f"CREATE DATABASE {name}")
    await sql(f"CREATE USER {name}@localhost IDENTIFIED BY 'p@ss word'")
    await sql(f"GRANT ALL ON {name}.* TO {name}@localhost")
    yield server.url.replace("root", f"{name}:p%40ss%20word").replace("/test", f"/{name}")
    await sql(f"DROP USER {name}@localhost")
    await sql(f"DROP DATABASE {name}")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_password_without_tls(ada: str, table: str, library: str) -> None:
    for _ in range(2):  # the first time MySQL asks for the password under its own key, then it remembers
        async with driver_from_url(f"{ada}?table={table}&client={library}") as driver:
            await driver.apply([Put("kv!@a", "x")])
    wrong = ada.replace("p%40ss", "other")
    with pytest.raises(ConfigurationError, match="user or the password"):
        await driver_from_url(f"{wrong}?client={library}").open()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_database_that_is_not_there_is_named(server: Server, library: str) -> None:
    driver = driver_from_url(server.url.removesuffix("/test") + f"/nothing?client={library}")
    with pytest.raises(ConfigurationError, match="CREATE DATABASE"):
        await driver.open()


async def test_rights_that_are_missing(ada: str, table: str, sql: Any) -> None:
    async with driver_from_url(f"{ada}?table={table}") as driver:
        name = parse_url(ada).username
        await sql(f"REVOKE ALL ON {name}.* FROM {name}@localhost")
        await sql(f"GRANT SELECT ON {name}.* TO {name}@localhost")
    async with driver_from_url(f"{ada}?table={table}") as driver:
        await driver.get(["kv!@a"])
        with pytest.raises(ReadOnlyError, match="privileges"):
            await driver.apply([Put("kv!@a", "x")])


async def test_a_server_that_is_read_only(ada: str, table: str, sql: Any) -> None:
    async with driver_from_url(f"{ada}?table={table}") as driver:
        await sql("SET GLOBAL read_only = 1")
        try:
            with pytest.raises(ReadOnlyError, match="primary"):
                await driver.apply([Put("kv!@a", "x")])
            with pytest.raises(ReadOnlyError, match="primary"):
                await driver.apply([Put("kv!@a", "x"), Put("kv!@b", "x", If.ABSENT)])
            assert any("read-only" in problem for problem in (await driver.health()).problems)
        finally:
            await sql("SET GLOBAL read_only = 0")
        await driver.apply([Put("kv!@a", "x")])


@pytest.mark.parametrize("library", LIBRARIES)
async def test_tls_is_asked_for_and_checked(server: Server, table: str, sql: Any, library: str) -> None:
    url = f"{server.url}?table={table}&client={library}"
    found = {row["Variable_name"]: row["Value"] for row in await sql("SHOW VARIABLES LIKE '%ssl_ca'")}
    if not found.get("ssl_ca"):
        with pytest.raises(ConfigurationError, match="does not support TLS"):
            await driver_from_url(f"{url}&ssl=require").open()
        return
    ca = Path(await sql.value("SELECT @@datadir")) / found["ssl_ca"]
    for how in ("ssl=require", f"ssl=verify-ca&ssl_ca={ca}"):
        async with driver_from_url(f"{url}&{how}") as driver:
            await driver.apply([Put("kv!@a", "x"), Put("kv!@b", "x")])
            assert (await driver.get(["kv!@a"]))[0] is not None
    with pytest.raises(ConfigurationError, match="ssl_ca"):
        await driver_from_url(f"{url}&ssl=verify-full").open()
    with pytest.raises(ConfigurationError, match="host name"):
        await driver_from_url(f"{url}&ssl=verify-full&ssl_ca={ca}").open()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_socket_instead_of_host_and_port(table: str, sql: Any, library: str) -> None:
    socket = await sql.value("SELECT @@socket")
    url = f"mysql://root@/test?unix_socket={socket}&table={table}&client={library}"
    async with driver_from_url(url) as driver:
        await driver.apply([Put("kv!@a", "x")])
        assert (await driver.get(["kv!@a"]))[0] is not None
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await driver_from_url(url.replace(socket, f"{socket}.none")).open()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_pool_that_stays_busy_says_so(server: Server, url: str, table: str, told: Told, library: str) -> None:
    async with driver_from_url(f"{url}&pool_size=1&connect_timeout=0.3&client={library}") as driver:
        await driver.apply([Put("kv!@a", "x")])
        holder = await aiomysql.connect(**told(server.url))
        await holder.query(f"SELECT * FROM {table} FOR UPDATE")
        waiting = asyncio.create_task(driver.apply([Put("kv!@a", "y")]))
        await asyncio.sleep(0.1)
        with pytest.raises(UnavailableError, match="pool_size"):
            await driver.get(["kv!@a"])
        holder.close()
        await waiting


async def test_a_lock_that_somebody_keeps_is_given_up_and_nothing_is_written(
    server: Server, url: str, table: str, told: Told
) -> None:
    async with driver_from_url(f"{url}&timeout=4") as driver:
        await driver.apply([Put("kv!@a", "x"), Put("kv!@b", "x")])
        holder = await aiomysql.connect(**told(server.url))
        await holder.query(f"SELECT * FROM {table} WHERE id = 'kv!@b' FOR UPDATE")
        for batch in ([Put("kv!@b", "y")], [Put("kv!@a", "y"), Put("kv!@b", "y", If.PRESENT)]):
            with pytest.raises(UnavailableError, match="races"):
                await driver.apply(batch)
        holder.close()
        await asyncio.sleep(0.5)
        assert [item and item.value for item in await driver.get(["kv!@a", "kv!@b"])] == ["x", "x"]


async def test_deadlocks_are_played_again(server: Server, url: str, table: str, told: Told) -> None:
    async with driver_from_url(url) as driver:
        await driver.apply([Put("kv!@a", "x"), Put("kv!@b", "x")])
        holder = await aiomysql.connect(**told(server.url))
        await holder.query(f"SELECT * FROM {table} WHERE id = 'kv!@b' FOR UPDATE")
        writing = asyncio.create_task(driver.apply([Put("kv!@a", "y", If.PRESENT), Put("kv!@b", "y", If.PRESENT)]))
        await asyncio.sleep(0.2)  # it has locked a and waits for b
        # A transaction that has written is dearer to the server than one that has not: ours is the one to die.
        await holder.query(f"UPDATE {table} SET updated_at = updated_at + 1 WHERE id = 'kv!@b'")
        await holder.query(f"SELECT * FROM {table} WHERE id = 'kv!@a' FOR UPDATE")
        await holder.rollback()
        holder.close()
        await writing
        assert [item and item.value for item in await driver.get(["kv!@a", "kv!@b"])] == ["y", "y"]


async def test_settings_of_the_server_are_not_those_of_our_sessions(url: str, sql: Any) -> None:
    isolation = "SET GLOBAL TRANSACTION ISOLATION LEVEL"
    mode = await sql.value("SELECT @@global.sql_mode")
    await sql("SET GLOBAL sql_mode = '', GLOBAL time_zone = '-11:00', GLOBAL autocommit = 0")
    await sql(f"{isolation} SERIALIZABLE")
    try:
        async with driver_from_url(url) as driver, driver_from_url(url) as other:
            await driver.apply([Put("kv!@a", "x")])
            assert (await other.get(["kv!@a"]))[0] is not None, "it was not committed"
            clock = await backend_now_ms(driver)
            await driver.apply([Put("kv!@a", "y", ttl_ms=60_000)])
            (item,) = await other.get(["kv!@a"])
            assert item is not None
            assert item.value == "y", "it reads in a snapshot of long ago"
            assert abs(item.updated_at - clock) < 60_000
    finally:
        await sql(f"SET GLOBAL sql_mode = '{mode}', GLOBAL time_zone = 'SYSTEM', GLOBAL autocommit = 1")
        await sql(f"{isolation} REPEATABLE READ")


async def test_a_server_that_takes_too_little_at_once_is_refused(url: str, sql: Any) -> None:
    packet = await sql.value("SELECT @@global.max_allowed_packet")
    await sql(f"SET GLOBAL max_allowed_packet = {4 * 1024 * 1024}")
    try:
        with pytest.raises(ConfigurationError, match="max_allowed_packet to 16M"):
            await driver_from_url(url).open()
    finally:
        await sql(f"SET GLOBAL max_allowed_packet = {packet}")


async def test_what_the_server_does_with_its_disk_is_declared(url: str, sql: Any) -> None:
    async with driver_from_url(url) as driver:
        assert driver.capabilities.durable == "disk"
        assert (await driver.health()).problems == ()
    await sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        async with driver_from_url(url) as driver:
            assert driver.capabilities.durable == "process"
            assert any("innodb_flush_log_at_trx_commit" in problem for problem in (await driver.health()).problems)
    finally:
        await sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1")


@pytest.mark.parametrize("library", [aiomysql, asyncmy], ids=LIBRARIES)
async def test_who_waits_for_the_applications_pool_is_not_forgotten(
    server: Server, table: str, told: Told, library: Any
) -> None:
    async with library.create_pool(**told(server.url), minsize=1, maxsize=1) as pool:
        async with MysqlDriver(pool=pool, table=table, connect_timeout=5) as driver:
            for n in range(20):
                cancelled = asyncio.create_task(driver.apply([Put("kv!@a", "x"), Put("kv!@b", "x")]))
                waiting = asyncio.create_task(driver.get(["kv!@a"]))
                await asyncio.sleep(n / 4000)
                cancelled.cancel()
                await asyncio.gather(cancelled, return_exceptions=True)
                async with asyncio.timeout(4):
                    await waiting
            async with pool.acquire():
                driver._options = None  # type: ignore[assignment]  # it is not asked again
                busy = MysqlDriver(pool=pool, table=table, connect_timeout=0.2)
                with pytest.raises(UnavailableError, match="enlarge the pool"):
                    await busy.open()
        async with pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT @@autocommit, @@session.sql_mode <> ''")
            assert await cursor.fetchone() == (0, 1), "the driver left a setting in the application's session"
    with pytest.raises(UnavailableError, match="closed its pool"):
        await MysqlDriver(pool=pool, table=table).open()


@pytest.fixture
def told(connecting: Told) -> Told:
    return connecting
