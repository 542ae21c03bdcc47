"""A FastMCP server that is killed, and still knows its clients and its streams: both are in a database.

    python examples/frameworks/key_value_fastmcp.py sqlite:///fastmcp.db

It has two applications: one with an OAuth proxy, in front of an identity provider that is never asked here, and one without.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

import httpx
import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.oauth_proxy import OAuthProxy
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.event_store import EventStore
from limpet import open_persistence
from limpet_adapters.key_value import LimpetKeyValue

RPC = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}


def serve(url: str, port: int, secured: bool) -> None:
    storage = LimpetKeyValue(open_persistence(url))
    auth = OAuthProxy(
        upstream_authorization_endpoint="https://identity.example/authorize",
        upstream_token_endpoint="https://identity.example/token",
        upstream_client_id="fastmcp",
        upstream_client_secret="secret of the example",
        token_verifier=StaticTokenVerifier(tokens={}),
        base_url=f"http://127.0.0.1:{port}",
        client_storage=storage,
    )
    server = FastMCP("Example", auth=auth if secured else None)

    @server.tool
    def add(a: int, b: int) -> int:
        return a + b

    app = server.http_app(event_store=EventStore(storage=storage))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def started(url: str, port: int, secured: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, url, str(port), *(["secured"] if secured else [])]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def clients(url: str) -> None:
    """A client registers itself, and is known after the server was killed."""
    port = free_port()
    process = started(url, port, secured=True)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        about = {
            "client_name": "Example",
            "redirect_uris": ["http://127.0.0.1:9/callback"],
            "token_endpoint_auth_method": "none",
        }
        registered = (await http.post("/register", json=about)).json()
        process.kill()
        process.wait()
        process = started(url, port, secured=True)
        for client_id in (registered["client_id"], "unknown"):
            asked = {
                "client_id": client_id,
                "response_type": "code",
                "redirect_uri": about["redirect_uris"][0],
                "code_challenge": "x" * 43,
                "code_challenge_method": "S256",
            }
            answer = await http.get("/authorize", params=asked)
            print("client", "unknown" if client_id == "unknown" else "registered", answer.status_code)
    process.kill()
    process.wait()


async def streams(url: str) -> None:
    """A client asks again for what followed the first event of its call."""
    port = free_port()
    process = started(url, port, secured=False)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        who = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "example", "version": "1"}}
        opened = await http.post("/mcp", json=_call(0, "initialize", who), headers=RPC)
        session = RPC | {"mcp-session-id": opened.headers["mcp-session-id"]}
        await http.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
        called = await http.post(
            "/mcp", json=_call(1, "tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}}), headers=session
        )
        first = next(line for line in called.text.splitlines() if line.startswith("id: ")).removeprefix("id: ")
        async with http.stream("GET", "/mcp", headers=session | {"last-event-id": first}) as again:
            async for line in again.aiter_lines():
                if line.startswith("data: {"):
                    print("stream resumed:", '"text":"5"' in line)
                    break
    process.kill()
    process.wait()


def _call(id: int, method: str, params: Mapping[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


async def main(url: str) -> None:
    await clients(url)
    await streams(url)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        serve(sys.argv[1], int(sys.argv[2]), sys.argv[-1] == "secured")
    else:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///fastmcp.db"))
