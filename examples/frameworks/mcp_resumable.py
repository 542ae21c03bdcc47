"""An MCP server that is killed after a call, and a client that gets what it missed from the next one.

    python examples/frameworks/mcp_resumable.py sqlite:///mcp.db

The client is written by hand, to show what travels. The SDK's client resumes by itself.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn
from limpet import open_persistence
from limpet_adapters.mcp import LimpetEventStore, ResumableSessions
from mcp.server.mcpserver import Context, MCPServer

HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}


def serve(url: str, port: int) -> None:
    server = MCPServer("Counter")

    @server.tool()
    async def count(ctx: Context) -> str:
        for n in range(1, 5):
            await ctx.report_progress(n, 4, f"counted {n}")
            await asyncio.sleep(0.1)
        return "counted to 4"

    store = LimpetEventStore(open_persistence(url))
    app = server.streamable_http_app(event_store=store)
    app.add_middleware(ResumableSessions, event_store=store)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def started(url: str, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, __file__, url, str(port)], stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """The id of each event, and what it says."""
    id = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "id":
            id = value
        elif field == "data" and value:
            message: dict[str, Any] = json.loads(value)
            yield id, message["params"]["message"] if "method" in message else message["result"]["content"][0]["text"]


async def main(url: str) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}/mcp"
    process = started(url, port)
    try:
        async with httpx.AsyncClient(timeout=20) as http:
            who = {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "example", "version": "1"},
            }
            body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": who}
            opened = await http.post(address, json=body, headers=HEADERS)
            headers = HEADERS | {"mcp-session-id": opened.headers["mcp-session-id"]}
            await http.post(address, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)

            call = {"name": "count", "arguments": {}, "_meta": {"progressToken": 1}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
            async with http.stream("POST", address, json=body, headers=headers) as response:
                last, text = await anext(events(response))
            print("heard:", text)
            await asyncio.sleep(1)  # the connection is gone, and the tool goes on
            process.kill()
            process.wait()
            process = started(url, port)
            async with http.stream("GET", address, headers=headers | {"last-event-id": last}) as response:
                print("missed:", ", ".join([text async for _, text in events(response)]))
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        serve(sys.argv[1], int(sys.argv[2]))
    else:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///mcp.db"))
