"""How long conversations live after their last item."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from limpet import ConflictError

if TYPE_CHECKING:
    from limpet import Persistence

__all__ = ["Lifetime"]

_SECONDS = 30.0
"""How long an interrupted removal keeps writers waiting."""


class Lifetime:
    """Removes a conversation whose time is over, and never one that somebody adds to at that moment.

    Who adds first says that the conversation is alive, and then looks whether it is being removed; who removes first says so,
    and then looks whether it is alive. So at least one of them sees the other.
    """

    def __init__(self, persistence: Persistence, ttl: float | timedelta) -> None:
        self._sessions = persistence.sessions
        self._alive = persistence.kv(bool, "openai-agents.alive")
        self._removing = persistence.kv(bool, "openai-agents.removing")
        self._ttl = ttl

    async def begin(self, session_id: str) -> None:
        """Before items are added: the conversation lives for another `ttl`."""
        await self._alive.set(session_id, True, ttl=self._ttl)
        while await self._removing.exists(session_id):  # noqa: ASYNC110 - another process may remove it
            await asyncio.sleep(0.01)

    async def end(self, session_id: str) -> None:
        """Remove the conversation if its time is over. What was added without a `ttl` stays."""
        if await self._alive.exists(session_id):
            return
        newest = await self._sessions.get_messages(session_id, last=1).skip_unreadable(lambda error: None)
        if not any(getattr(message, "expires", False) for message in newest):
            return
        try:
            await self._removing.set(session_id, True, ttl=_SECONDS, if_absent=True)
        except ConflictError:  # somebody else does it
            return
        try:
            if not await self._alive.exists(session_id):
                await self._sessions.delete_session(session_id)
        finally:
            await self._removing.delete(session_id)
