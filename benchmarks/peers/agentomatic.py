"""Agentomatic's SQLAlchemyStore: on SQLite, as shipped (rollback journal) and with our settings (WAL, FULL), and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from agentomatic.storage import SQLAlchemyStore
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["Agentomatic"]


class Agentomatic:
    """One store, one thread for each conversation."""

    def __init__(self, url: str, engine: AsyncEngine | None = None) -> None:
        self._engine = engine
        self._store = SQLAlchemyStore(url, engine=engine)

    @classmethod
    def on_sqlite(cls, path: Path, *, equal_durability: bool) -> Self:
        url = f"sqlite+aiosqlite:///{path}"
        if not equal_durability:
            return cls(url)
        engine = create_async_engine(url)
        event.listen(engine.sync_engine, "connect", _wal)
        return cls(url, engine)

    @classmethod
    def on_postgresql(cls, url: str, connections: int) -> Self:
        return cls(url, create_async_engine(url, pool_size=connections, max_overflow=0, pool_timeout=120))

    async def open(self) -> None:
        await self._store.initialize()

    async def create(self, conversation: str) -> None:
        await self._store.create_thread(conversation, "user", "agent")

    async def add(self, conversation: str, content: str) -> None:
        await self._store.add_message(conversation, "user", content)

    async def close(self) -> None:
        await self._store.close()
        if self._engine is not None:
            await self._engine.dispose()


def _wal(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
