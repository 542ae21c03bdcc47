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
from event_stream import create_app
from limpet.events import create_queue
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

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


async def test_what_is_no_event_is_refused(url: str) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        for _ in range(32):
            yield b" " * 65536

    json_type = {"content-type": "application/json; charset=utf-8"}
    with serving(url) as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            for body in (b"not json", b"[" * 100_000, b'"\xff"', b"9" * 5000):
                answer = await client.post(AT, content=body, headers=json_type)
                assert answer.status_code == 400, body[:20]
                assert "not an event" in answer.json()["error"]
            assert (await client.post(AT, content=b"1", headers={"content-type": "text/plain"})).status_code == 415
            assert (await client.post(AT, content=b"1")).status_code == 415
            assert (await client.post(AT, content=endless(), headers=json_type)).status_code == 413
            await publish(client, range(1))
            assert (await read(client, None, 1))[0] == [0], "nothing of it was stored"


async def test_authentication_stands_before_the_routes(tmp_path: Path) -> None:
    class Refuse:
        def __init__(self, app: object) -> None: ...

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await Response(status_code=401)(scope, receive, send)

    app = create_app("memory://", middleware=[Middleware(Refuse)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        assert (await client.get(AT)).status_code == 401
        assert (await client.post(AT, json=1)).status_code == 401
