"""A server that restarts empty, and a process that dies right after its next write: what was acknowledged can be read."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from limpet import UnavailableError
from limpet.driver import Put, key, name, text
from limpet.opening import driver_from_url
from limpet.wrappers import Encrypted
from limpet.wrappers.encryption import _ring_guard
from limpet_conformance.servers import find, running

from ..conftest import SERVERS

KEY = bytes(range(32))
AT = key(name("kv"), text("a"))


@pytest.mark.parametrize(
    "kind",
    [
        "redis",
        pytest.param("postgresql", marks=[pytest.mark.again, pytest.mark.exhaustive]),
        pytest.param("mysql", marks=[pytest.mark.again, pytest.mark.exhaustive]),
    ],
)
async def test_nothing_leans_on_what_was_there_before_a_restart(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not running(kind).ours:
        pytest.skip("the server belongs to somebody else: it is not killed")
    monkeypatch.setattr(_ring_guard, "PROOF_SECONDS", 600.0)
    server = find(kind)
    try:
        url = f"{server.url}{'&' if '?' in server.url else '?'}{SERVERS[kind]}=lost&timeout=3&connect_timeout=3"
        async with driver_from_url(url) as inner:
            driver = Encrypted(inner, key=KEY)
            await driver.open()
            await driver.apply([Put(AT, "before")])
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            async with driver_from_url(url) as empty:
                await empty.clear("")
            until = monotonic() + 30
            while True:
                try:
                    await driver.apply([Put(AT, "after")])
                    break
                except UnavailableError:
                    assert monotonic() < until, "it does not come back"
            async with Encrypted(driver_from_url(url), key=KEY) as other:  # the first one proves nothing any more
                (item,) = await other.get([AT])
                assert item is not None
                assert item.value == "after"
            await driver.close()
    finally:
        await asyncio.to_thread(server.end)
