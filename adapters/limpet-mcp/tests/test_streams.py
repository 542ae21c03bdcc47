"""Streams of a real server that is cut, killed and started again, and a client that resumes them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from proof.databases import Database

SERVER = Path(__file__).with_name("counting_server.py")
HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": "2025-11-25",
}


class Server:
    """A server process on a port of its own, which can be killed and started again."""

    def __init__(self, url: str, folder: Path) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.gate = folder / "gate"
        self._url = url
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, str(SERVER), self._url, str(self.port), str(self.gate)])
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[Server]:
    if not database.is_kept:
        pytest.skip("memory is not kept")
    made = Server(database.url, tmp_path)
    made.start()
    yield made
    made.kill()


Event = tuple[str, Any]
"""An event's id, and its message; `None` for an event without one."""


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    id, data = "", ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "id":
            id = value
        elif field.startswith("data"):
            data = value
        elif line == "":
            yield id, json.loads(data) if data else None
            id, data = "", ""


async def open_session(http: httpx.AsyncClient, server: Server) -> dict[str, str]:
    """Open a session; return the headers of its requests."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    response = await http.post(server.address, json=body, headers=HEADERS)
    headers = HEADERS | {"mcp-session-id": response.headers["mcp-session-id"]}
    done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await http.post(server.address, json=done, headers=headers)).status_code == 202
    return headers


@asynccontextmanager
async def called(
    http: httpx.AsyncClient, server: Server, headers: dict[str, str], label: str
) -> AsyncIterator[AsyncIterator[Event]]:
    params = {"name": "count", "arguments": {"label": label}, "_meta": {"progressToken": 1}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with http.stream("POST", server.address, json=body, headers=headers) as response:
        assert response.status_code == 200
        yield events(response)


@asynccontextmanager
async def resumed(
    http: httpx.AsyncClient, server: Server, headers: dict[str, str], after: str
) -> AsyncIterator[httpx.Response]:
    async with http.stream("GET", server.address, headers=headers | {"last-event-id": after}) as response:
        yield response


def said(event: Event) -> str:
    _, message = event
    if message is None:
        return "beginning"
    return str(message["params"]["message"] if "method" in message else message["result"]["content"][0]["text"])


async def beginning_of(http: httpx.AsyncClient, server: Server, headers: dict[str, str], label: str) -> list[Event]:
    """Call the tool, read what comes before it waits, and drop the connection."""
    async with called(http, server, headers, label) as stream:
        first = [await anext(stream) for _ in range(3)]
    assert [said(each) for each in first] == ["beginning", f"{label} 0", f"{label} 1"]
    return first


async def until(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # for the result, which is stored after the tool has returned


async def test_a_client_that_was_cut_off_resumes(server: Server) -> None:
    async with httpx.AsyncClient(timeout=20) as http:
        headers = await open_session(http, server)
        first = await beginning_of(http, server, headers, "a")
        server.gate.touch()
        await until(server.gate.with_suffix(".done"))
        for seen, missing in ((2, ["a 2", "a 3", "a counted"]), (0, ["a 0", "a 1", "a 2", "a 3", "a counted"])):
            async with resumed(http, server, headers, first[seen][0]) as response:
                stream = events(response)
                assert [said(await anext(stream)) for _ in missing] == missing


async def test_a_client_resumes_while_the_tool_still_runs(server: Server) -> None:
    async with httpx.AsyncClient(timeout=20) as http:
        headers = await open_session(http, server)
        first = await beginning_of(http, server, headers, "a")
        async with resumed(http, server, headers, first[-1][0]) as response:
            stream = events(response)
            assert said(await anext(stream)) == "beginning"
            server.gate.touch()
            assert [said(await anext(stream)) for _ in range(3)] == ["a 2", "a 3", "a counted"]


async def test_a_client_resumes_after_the_server_was_killed(server: Server) -> None:
    async with httpx.AsyncClient(timeout=20) as http:
        headers = await open_session(http, server)
        first = await beginning_of(http, server, headers, "a")
        server.gate.touch()
        await until(server.gate.with_suffix(".done"))
        server.kill()
        server.start()
        for _ in range(2):
            async with resumed(http, server, headers, first[1][0]) as response:
                assert response.headers["content-type"].startswith("text/event-stream")
                missed = [each async for each in events(response)]
            assert [said(each) for each in missed] == ["a 1", "a 2", "a 3", "a counted"]
        last = missed[-1][0]
        for wrong in (last, "nonsense", last.replace(".", ".9"), "0" * 32 + last[32:]):  # nothing follows these
            async with resumed(http, server, headers, wrong) as response:
                assert response.status_code == 404
        async with resumed(http, server, HEADERS | {"mcp-session-id": "0" * 32}, first[1][0]) as response:
            assert response.status_code == 404


async def test_sessions_get_their_own_events_only(server: Server) -> None:
    async with httpx.AsyncClient(timeout=20) as http:
        ada, bob = await open_session(http, server), await open_session(http, server)
        hers = await beginning_of(http, server, ada, "ada")
        his = await beginning_of(http, server, bob, "bob")  # with the same request id, so the same stream for the SDK
        server.gate.touch()
        await until(server.gate.with_suffix(".done"))
        for is_started_again in (False, True):
            if is_started_again:
                server.kill()
                server.start()
            for headers, first, label in ((ada, hers, "ada"), (bob, his, "bob")):
                async with resumed(http, server, headers, first[-1][0]) as response:
                    stream = events(response)
                    assert [said(await anext(stream)) for _ in range(3)] == [
                        f"{label} 2",
                        f"{label} 3",
                        f"{label} counted",
                    ]
            async with resumed(http, server, bob, hers[-1][0]) as response:
                found = [] if is_started_again else [each async for each in events(response)]
                assert (response.status_code, found) == (404 if is_started_again else 200, [])


async def test_a_session_that_its_client_ended_is_forgotten(server: Server) -> None:
    async with httpx.AsyncClient(timeout=20) as http:
        headers = await open_session(http, server)
        first = await beginning_of(http, server, headers, "a")
        server.gate.touch()
        await until(server.gate.with_suffix(".done"))
        assert (await http.delete(server.address, headers=headers)).status_code == 200
        async with resumed(http, server, headers, first[0][0]) as response:
            assert response.status_code == 404
        server.kill()
        server.start()
        async with resumed(http, server, headers, first[0][0]) as response:
            assert response.status_code == 404


class Wire:
    """What is between a client and a server, and can be cut. Who connects meanwhile waits until it is mended."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._whole = asyncio.Event()
        self._whole.set()
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def address(self) -> AsyncIterator[str]:
        listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with listening:
            yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/mcp"
            self.cut()

    def cut(self) -> None:
        self._whole.clear()
        for each in self._open:
            each.transport.abort()

    def mend(self) -> None:
        self._whole.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._whole.wait()
            upstream, back = await asyncio.open_connection("127.0.0.1", self._server.port)
            self._open.add(back)
            try:
                await asyncio.gather(_copied(reader, back), _copied(upstream, writer))
            finally:
                self._open.discard(back)
                back.transport.abort()
        except OSError:  # cut
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError


@pytest.mark.parametrize("is_killed", [False, True], ids=["cut", "killed"])
async def test_the_sdks_client_gets_its_result_after_the_wire_was_cut(server: Server, is_killed: bool) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    heard: list[str | None] = []
    waits = asyncio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append(message)
        if done == 1:
            waits.set()

    wire = Wire(server)
    async with (
        wire.address() as address,
        streamable_http_client(address) as streams,
        ClientSession(*streams[:2]) as client,
    ):
        await client.initialize()
        await client.list_tools()  # else the client asks for it when it has the result, of a session that is gone
        call = asyncio.create_task(client.call_tool("count", {"label": "a"}, progress_callback=progress))
        async with asyncio.timeout(20):
            await waits.wait()
        wire.cut()
        server.gate.touch()
        await until(server.gate.with_suffix(".done"))
        assert not call.done()
        if is_killed:
            server.kill()
            server.start()
        wire.mend()
        async with asyncio.timeout(20):
            result = await call
        assert result.content[0].text == "a counted"
        assert heard == ["a 0", "a 1", "a 2", "a 3"]


def test_the_example(tmp_path: Path) -> None:
    program = Path(__file__).parents[3] / "examples/frameworks/mcp_resumable.py"
    command = [sys.executable, str(program), f"sqlite:///{(tmp_path / 'mcp.db').as_posix()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.splitlines() == ["heard: counted 1", "missed: counted 2, counted 3, counted 4, counted to 4"]
