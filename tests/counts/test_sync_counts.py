"""Threads that call at once travel together, and a call crosses to the other event loop once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from limpet import open_persistence, sync
from limpet._portal import Crossing
from limpet.opening import driver_from_url
from limpet.records import UserMessage
from limpet_conformance.faults import counted

THREADS, EACH = 32, 20


def test_32_threads_at_once_are_fewer_transactions(url: str) -> None:
    driver = driver_from_url(url)
    with sync.create_storage(driver) as storage, ThreadPoolExecutor(THREADS) as threads:
        if not driver.capabilities.group:
            pytest.skip("nothing is saved by grouping")
        storage.set_item("warm", 1)

        def write(thread: int) -> None:
            for n in range(EACH):
                storage.set_item(f"{thread}:{n}", n)

        with counted(driver) as counts:
            list(threads.map(write, range(THREADS)))
        assert counts.commits <= THREADS * EACH / 2
        assert len(list(storage.get_keys())) == THREADS * EACH + 1


def test_a_call_crosses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    crossed = 0
    start = Crossing.start

    def counting(self: Crossing[object], ended: Callable[[Crossing[object]], None]) -> None:
        nonlocal crossed
        crossed += 1
        start(self, ended)

    persistence = open_persistence("memory://")
    plain = sync.Persistence.of(persistence)
    plain.sessions.add_message("s1", UserMessage(content="x"), create=True)
    monkeypatch.setattr(Crossing, "start", counting)
    plain.sessions.add_message("s1", UserMessage(content="x"))
    assert crossed == 1
    assert len(list(plain.sessions.get_messages("s1", last=50))) == 2
    assert crossed <= 4, "the page, the end of the iterator, and its closing"
    crossed = 0
    with plain.state(dict, "s", factory=dict) as state:
        state["a"] = 1
    assert crossed == 2
    crossed = 0
    asyncio.run(persistence.sessions.add_message("s1", UserMessage(content="x")))
    assert crossed == 1
    crossed = 0
    assert len(asyncio.run(_page(persistence.sessions.get_messages("s1", last=50)))) == 3
    assert crossed == 1
    plain.close()


async def _page(listing: object) -> list[object]:
    return list(await listing)  # type: ignore[misc]
