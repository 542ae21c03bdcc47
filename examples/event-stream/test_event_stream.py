"""Connections are cut, the server is killed, a reader falls behind: no gap, no double, and who missed something is told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import httpx
import pytest
from limpet.events import create_queue

SCRIPT = Path(__file__).with_name("event_stream.py")
AT = "/sessions/123/events"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{(tmp_path / 'events.db').as_posix()}"


@contextmanager
def serving(url: str) -> Iterator[str]:
    """A server's address; it is killed at the end, without a warning."""
    with subprocess.Popen([sys.executable, str(SCRIPT), url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def events(client: httpx.AsyncClient, last: str | None) -> AsyncGenerator[dict[str, str], None]:
    """One connection's events, as a browser takes them apart."""
    headers = {} if last is None else {"last-event-id": last}
    async with client.stream("GET", AT, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                field, _, value = line.partition(": ")
                event[field] = value
            elif event:
                yield event
                event = {}


async def read(client: httpx.AsyncClient, last: str | None, count: int) -> tuple[list[int], str | None]:
    """The next `count` values and the id to go on behind; then the connection is cut."""
    values: list[int] = []
    async with aclosing(events(client, last)) as stream:
        while len(values) < count:
            event = await anext(stream)
            values.append(json.loads(event["data"]))
            last = event["id"]
    return values, last


async def publish(client: httpx.AsyncClient, values: range) -> None:
    for value in values:
        (await client.post(AT, json=value)).raise_for_status()


async def test_cut_connections_leave_no_gap_and_no_double(url: str) -> None:
    with serving(url) as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            publishing = asyncio.create_task(publish(client, range(60)))
            seen: list[int] = []
            last = None
            while len(seen) < 60:
                more, last = await read(client, last, min(7, 60 - len(seen)))
                seen += more
            await publishing
    assert seen == list(range(60))


async def test_a_killed_server_loses_nothing_that_it_took(url: str) -> None:
    with serving(url) as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            await publish(client, range(10))
            before, last = await read(client, None, 4)
    with serving(url) as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            await publish(client, range(10, 15))
            after, _ = await read(client, last, 11)
    assert before + after == list(range(15))


async def test_who_fell_behind_is_told(url: str) -> None:
    with serving(url) as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            await publish(client, range(10))
            _, last = await read(client, None, 2)
            async with create_queue(url, max_count=3, prune_interval=None) as queue:
                assert await queue.prune() == 7
            async with aclosing(events(client, last)) as stream:
                told = await anext(stream)
                assert (told["event"], told["data"]) == ("lost", "5")
            assert (await read(client, told["id"], 3))[0] == [7, 8, 9]


async def test_an_id_from_elsewhere_is_refused(url: str) -> None:
    with serving(url) as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            answer = await client.get(AT, headers={"last-event-id": "x"})
    assert answer.status_code == 400
    assert "cursor" in answer.json()["error"]


async def test_what_is_no_json_is_refused(url: str) -> None:
    with serving(url) as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            answer = await client.post(AT, content=b"not json")
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]
