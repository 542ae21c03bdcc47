"""The sessions of an MCP server: what tells their streams apart."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from datetime import timedelta
from secrets import token_hex
from time import monotonic
from typing import Any

from limpet import LimpetError, Persistence
from pydantic import BaseModel

__all__ = ["Request", "Session", "Sessions", "current"]

_logger = logging.getLogger("limpet")

_REMEMBERED = 10_000
"""Sessions that a process knows without asking the database."""


class Session(BaseModel, frozen=True):
    """A session, by a random name of its own, which the ids of its events contain."""

    name: str
    principal: dict[str, Any] | None = None
    """Who opened it, where the server authenticates its clients."""

    @classmethod
    def new(cls) -> Session:
        """A session that is being opened."""
        return cls(name=token_hex(16))


class Request:
    """A request that is handled. What the SDK starts while it opens a session has the opening request for good."""

    def __init__(self, session: Session, *, is_primed: bool = False) -> None:
        """`is_primed`: the SDK begins each stream of such a request, also a resumed one, with an event without a message."""
        self.session = session
        self.is_primed = is_primed
        self.beginning: str | None = None
        """The id of the event with which the SDK begins the stream that this request resumes."""
        self._turn: asyncio.Lock | None = None

    async def keep(self, turn: asyncio.Lock) -> None:
        """Take the session's turn to store events, until the SDK sends them to this request's client."""
        await turn.acquire()
        self._turn = turn

    @property
    def is_kept(self) -> bool:
        """Whether the session's other events wait for this request."""
        return self._turn is not None

    def go_on(self) -> None:
        """Let the session's other events be stored."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()


current: ContextVar[Request | None] = ContextVar("limpet_mcp_request", default=None)


class Sessions:
    """Sessions by the ids that clients know. They are kept as long as their events."""

    def __init__(self, persistence: Persistence, retention: timedelta) -> None:
        self._stored = persistence.kv(Session, "mcp.sessions")
        self._retention = retention
        self._known: dict[str, tuple[Session, float]] = {}
        """With the time at which each is stored again, lest it expires while it is used."""

    async def add(self, session_id: str, session: Session) -> None:
        """Remember a session."""
        await self._stored.set(session_id, session, ttl=self._retention)
        self._remember(session_id, session)

    async def get(self, session_id: str) -> Session | None:
        """The session, or `None` for one that nobody has used for longer than its events are kept."""
        session, due = self._known.get(session_id, (None, 0.0))
        if session is None:
            session = await self._stored.get(session_id)
        if session is not None and monotonic() >= due:
            try:
                await self.add(session_id, session)
            except LimpetError as error:
                _logger.warning("a session of MCP may be forgotten while it is used: %s", error)
        return session

    async def remove(self, session_id: str) -> Session | None:
        """Forget a session, and return it."""
        session = await self.get(session_id)
        self._known.pop(session_id, None)
        await self._stored.delete(session_id)
        return session

    def _remember(self, session_id: str, session: Session) -> None:
        self._known.pop(session_id, None)
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[session_id] = (session, monotonic() + self._retention.total_seconds() / 4)
