"""Says which session a request belongs to, and continues the streams of sessions that the server no longer knows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from limpet import InvalidCursorError, LimpetError
from sse_starlette import EventSourceResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.streamable_http import (
    LAST_EVENT_ID_HEADER,
    MCP_SESSION_ID_HEADER,
    EventMessage,
)

from ._event_ids import EventPosition
from ._event_store import LimpetEventStore
from ._sessions import Request, Session, current

__all__ = ["ResumableSessions"]

_logger = logging.getLogger("limpet")

_LONGEST = 256
"""Characters of a session's id that is looked up."""
_NOT_FOUND = 404
_PRIMED = "2025-11-25"
"""The first version of the protocol whose streams begin with an event without a message."""


class ResumableSessions:
    """ASGI middleware for an MCP server with a `LimpetEventStore`: `app.add_middleware(ResumableSessions, event_store=store)`.

    It keeps the streams of sessions apart. A client that resumes a stream of a session that the server no longer knows, since it
    was started again or has many processes, gets what is stored, provided that it is who opened the session; any other
    request of such a session gets the server's answer, 404, and the client opens a new one.
    """

    def __init__(self, app: ASGIApp, event_store: LimpetEventStore) -> None:
        self._app = app
        self._store = event_store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        session_id = headers.get(MCP_SESSION_ID_HEADER)
        if session_id is None:
            await self._open(scope, receive, send)
            return
        session = await self._store.sessions.get(session_id) if len(session_id) <= _LONGEST else None
        is_primed = headers.get("mcp-protocol-version", "") >= _PRIMED
        request = Request(
            session or Session.new(), is_primed=is_primed
        )  # of one that nobody knows, nothing can be resumed
        token = current.set(request)
        try:
            if scope["method"] == "DELETE":
                await self._end(session_id, scope, receive, send)
            elif scope["method"] == "GET" and session is not None and LAST_EVENT_ID_HEADER in headers:
                await self._resume(request, headers[LAST_EVENT_ID_HEADER], scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            request.go_on()
            current.reset(token)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that may open a session: remember it before the client learns its id."""
        session = Session.new()

        async def remembering(message: Message) -> None:
            if message["type"] == "http.response.start":
                opened = Headers(raw=message["headers"]).get(MCP_SESSION_ID_HEADER)
                if opened is not None and message["status"] < 300:
                    await self._store.sessions.add(opened, session.model_copy(update={"principal": _principal(scope)}))
            await send(message)

        token = current.set(Request(session))
        try:
            await self._app(scope, receive, remembering)
        finally:
            current.reset(token)

    async def _end(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that ends a session: its events go with it, if the server agrees."""

        async def forgetting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300:
                try:
                    await self._store.delete_session(session_id)
                except LimpetError as error:
                    _logger.warning("the events of an MCP session stay until they are pruned: %s", error)
            await send(message)

        await self._app(scope, receive, forgetting)

    async def _resume(self, request: Request, last_event_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A request to resume a stream: if the server does not know the session, its stored events are the answer."""
        refusal: list[Message] = []

        async def holding(message: Message) -> None:
            if refusal or (message["type"] == "http.response.start" and message["status"] == _NOT_FOUND):
                refusal.append(message)
                return
            await send(message)
            if request.beginning is not None and request.beginning.encode() in message.get("body", b""):
                # The SDK has passed it on, and sends what is stored from now on to this client itself.
                asyncio.get_running_loop().call_soon(request.go_on)

        await self._app(scope, receive, holding)
        request.go_on()
        if not refusal:
            return
        at = EventPosition.parse(last_event_id)
        if at is not None and at.session == request.session.name and _principal(scope) == request.session.principal:
            messages = self._store.messages_after(at)
            try:
                first = await anext(messages, None)
            except InvalidCursorError:
                first = None
            if first is not None:
                # It ends with what is stored, so a client whose answer is missing asks again, and gets the refusal.
                response = EventSourceResponse(
                    _sent(first, messages), headers={"Cache-Control": "no-cache, no-transform"}
                )
                await response(scope, receive, send)
                return
        for message in refusal:
            await send(message)


def _principal(scope: Scope) -> dict[str, Any] | None:
    user = scope.get("user")
    return dict(authorization_context(user)) if isinstance(user, AuthenticatedUser) else None


async def _sent(first: EventMessage, others: AsyncIterator[EventMessage]) -> AsyncIterator[dict[str, str]]:
    yield _event(first)
    async for each in others:
        yield _event(each)


def _event(message: EventMessage) -> dict[str, str]:
    data = message.message.model_dump_json(by_alias=True, exclude_unset=True)
    return {"event": "message", "data": data, "id": message.event_id or ""}
