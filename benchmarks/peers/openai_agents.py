"""openai-agents' SQLiteSession. As shipped it uses WAL, and SQLite's own `synchronous=FULL`: equal durability."""

from __future__ import annotations

from pathlib import Path

from agents import SQLiteSession

__all__ = ["OpenaiAgents"]


class OpenaiAgents:
    """One session object for each conversation, as its guide shows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sessions: dict[str, SQLiteSession] = {}

    async def create(self, conversation: str) -> None:
        self._sessions[conversation] = SQLiteSession(conversation, self._path)

    async def add(self, conversation: str, content: str) -> None:
        await self._sessions[conversation].add_items([{"role": "user", "content": content}])

    async def last(self, conversation: str, count: int) -> int:
        return len(await self._sessions[conversation].get_items(limit=count))

    async def close(self) -> None:
        for session in self._sessions.values():
            session.close()
