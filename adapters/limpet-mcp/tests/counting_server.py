"""An MCP server whose streams are resumable: `python counting_server.py URL PORT GATE`.

Its tool reports progress twice, waits until the file `GATE` exists, reports twice more, and returns.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvicorn
from limpet import open_persistence
from limpet_adapters.mcp import LimpetEventStore, ResumableSessions
from mcp.server.mcpserver import Context, MCPServer
from proof.places import wrappers
from starlette.applications import Starlette


def app(url: str, gate: Path) -> Starlette:
    server = MCPServer("counting")

    @server.tool()
    async def count(ctx: Context, label: str) -> str:
        for n in range(4):
            while n == 2 and not gate.exists():  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.01)
            await ctx.report_progress(n, 4, f"{label} {n}")
        gate.with_suffix(".done").touch()
        return f"{label} counted"

    store = LimpetEventStore(open_persistence(url, wrappers=wrappers()))
    served = server.streamable_http_app(event_store=store, retry_interval=100)
    served.add_middleware(ResumableSessions, event_store=store)
    return served


if __name__ == "__main__":
    url, port, gate = sys.argv[1:]
    uvicorn.run(app(url, Path(gate)), host="127.0.0.1", port=int(port), log_level="warning")
