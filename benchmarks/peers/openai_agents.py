"""openai-agents' sessions, one object for each conversation, as its guide shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from agents import SQLiteSession

__all__ = ["OpenaiAgents", "OpenaiRedis", "OpenaiSqlalchemy"]


class _Sessions(ABC):
    """By conversation."""

    def __init__(self) -> None:
        self._sessions: dict[str, Any] = {}

    @abstractmethod
    async def create(self, conversation: str) -> None: ...

    async def add(self, conversation: str, content: str) -> None:
        await self._sessions[conversation].add_items([{"role": "user", "content": content}])

    async def last(self, conversation: str, count: int) -> int:
        return len(await self._sessions[conversation].get_items(limit=count))


class OpenaiAgents(_Sessions):
    """SQLiteSession. As shipped it uses WAL, and SQLite's own `synchronous=FULL`: equal durability."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    async def create(self, conversation: str) -> None:
        self._sessions[conversation] = SQLiteSession(conversation, self._path)

    async def close(self) -> None:
        for session in self._sessions.values():
            session.close()


class OpenaiRedis(_Sessions):
    """RedisSession, all of them on one client with as many connections as our driver has."""

    def __init__(self, url: str, connections: int) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis

        super().__init__()
        pool = BlockingConnectionPool.from_url(url, max_connections=connections, timeout=60)
        self._redis = Redis(connection_pool=pool)

    async def create(self, conversation: str) -> None:
        from agents.extensions.memory import RedisSession

        self._sessions[conversation] = RedisSession(conversation, redis_client=self._redis)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()


class OpenaiSqlalchemy(_Sessions):
    """SQLAlchemySession, all of them on one engine with as many connections as our driver has."""

    def __init__(self, url: str, connections: int) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        super().__init__()
        self._engine = create_async_engine(url, pool_size=connections, max_overflow=0, pool_timeout=120)

    async def create(self, conversation: str) -> None:
        from agents.extensions.memory import SQLAlchemySession

        self._sessions[conversation] = SQLAlchemySession(conversation, engine=self._engine, create_tables=True)

    async def close(self) -> None:
        await self._engine.dispose()
