"""Watching: messages of strangers, and a connection of which nobody says that it has ended."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from limpet import create_storage
from limpet.driver import Put
from limpet_conformance.servers import Proxy, running
from limpet_drivers.postgresql import PostgresqlDriver, _client


@pytest.mark.parametrize("forged", ["storage!garbage garbage", "storage", "storage!", 'storage!@"zzz', "storage!@x!n"])
async def test_messages_of_strangers_end_no_watch(forged: str) -> None:
    server = running("postgresql")
    schema = f"s{uuid4().hex}"
    url = f"{server.url}?schema={schema}&watch=true"
    seen: list[tuple[str, str]] = []
    stranger = await asyncpg.connect(server.url)
    async with create_storage(url) as storage, create_storage(url) as other:
        await storage.watch(lambda event, key: seen.append((event, key)))
        await stranger.execute("SELECT pg_notify($1, $2)", f"{schema}.limpet", forged)
        await other.set_item("after", 1)
        for _ in range(200):
            if ("update", "after") in seen:
                break
            await asyncio.sleep(0.02)
    await stranger.close()
    assert ("update", "after") in seen


async def test_a_watch_on_a_half_open_connection_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "_QUIET", 0.3)
    server = running("postgresql")
    query = f"?schema=s{uuid4().hex}&watch=true&timeout=3"
    async with Proxy(server.url) as proxy, PostgresqlDriver.from_url(proxy.url + query) as driver:
        hints = driver.watch("kv")
        assert await anext(hints) is None
        made = proxy.connections
        await asyncio.sleep(1)
        assert proxy.connections == made, "a connection that is only quiet was given up"
        proxy.silence()
        assert await asyncio.wait_for(anext(hints), 10) is None
        async with PostgresqlDriver.from_url(server.url + query) as other:
            await other.commit([[Put("kv!@a", "1")]])
        assert await asyncio.wait_for(anext(hints), 10) == frozenset({"kv!@a"})
        await hints.aclose()


async def test_a_read_is_asked_again_when_its_backend_was_terminated() -> None:
    server = running("postgresql")
    query = f"?schema=s{uuid4().hex}"
    admin = await asyncpg.connect(server.url)
    async with PostgresqlDriver.from_url(server.url + query) as driver:
        await driver.commit([[Put("kv!@a", "1")]])
        for _ in range(20):
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'limpet'"
            )
            assert [item and item.value for item in await driver.get(["kv!@a"])] == ["1"]
    await admin.close()
