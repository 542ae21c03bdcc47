"""Who may resume what, where the server authenticates its clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from limpet import Persistence
from limpet_adapters.mcp import LimpetEventStore, ResumableSessions
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from proof.databases import Database

ADDRESS = "http://127.0.0.1:8000/mcp"
HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


class Names(TokenVerifier):
    """Every token is the name of a client."""

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id=token, scopes=[])


@asynccontextmanager
async def served(persistence: Persistence, *, is_authenticated: bool) -> AsyncIterator[httpx.AsyncClient]:
    auth = AuthSettings(
        issuer_url="https://issuer.example",
        resource_server_url="https://server.example",
        required_scopes=[],
        validate_token_resource=False,
    )  # type: ignore[arg-type]
    options = {"token_verifier": Names(), "auth": auth} if is_authenticated else {}
    server = MCPServer("test", **options)  # type: ignore[arg-type]
    async with LimpetEventStore(persistence) as store:
        app = server.streamable_http_app(event_store=store)
        app.add_middleware(ResumableSessions, event_store=store)
        async with server.session_manager.run(), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
            yield http


async def opened(http: httpx.AsyncClient, **more: str) -> tuple[dict[str, str], str]:
    """The headers of a new session, and the id of its first event."""
    response = await http.post(ADDRESS, json=INITIALIZE, headers=HEADERS | more)
    assert response.status_code == 200
    first = next(line for line in response.text.splitlines() if line.startswith("id: "))
    return HEADERS | {"mcp-session-id": response.headers["mcp-session-id"]}, first.removeprefix("id: ")


@pytest.mark.parametrize("is_authenticated", [True, False])
async def test_only_who_opened_a_session_resumes_it_after_a_restart(database: Database, is_authenticated: bool) -> None:
    ada, bob = {"authorization": "Bearer ada"}, {"authorization": "Bearer bob"}
    async with database.open() as persistence:
        async with served(persistence, is_authenticated=is_authenticated) as http:
            session, first = await opened(http, **ada)
            other, _ = await opened(http, **bob)
        async with served(persistence, is_authenticated=is_authenticated) as http:  # a server that knows no sessions
            resumed = await http.get(ADDRESS, headers=session | ada | {"last-event-id": first})
            assert resumed.status_code == 200
            assert '"serverInfo"' in resumed.text
            assert resumed.text.count("id: ") == 1
            refused = [await http.get(ADDRESS, headers=other | who | {"last-event-id": first}) for who in (ada, bob)]
            if is_authenticated:
                refused.append(await http.get(ADDRESS, headers=session | bob | {"last-event-id": first}))
                anonymous = await http.get(ADDRESS, headers=session | {"last-event-id": first})
                assert anonymous.status_code == 401
            assert [each.status_code for each in refused] == [404] * len(refused)
            assert (
                await http.post(ADDRESS, json=INITIALIZE | {"method": "tools/list"}, headers=session | ada)
            ).status_code == 404
            assert (await http.delete(ADDRESS, headers=session | ada)).status_code == 404
