"""Agentomatic's SQLAlchemyStore on SQLite, as shipped (rollback journal) and with our settings (WAL, FULL)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentomatic.storage import SQLAlchemyStore
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

__all__ = ["Agentomatic"]


class Agentomatic:
    """One store, one thread for each conversation."""

    def __init__(self, path: Path, *, equal_durability: bool) -> None:
        url = f"sqlite+aiosqlite:///{path}"
        self._engine = None
        if equal_durability:
            self._engine = create_async_engine(url)
            event.listen(self._engine.sync_engine, "connect", _wal)
        self._store = SQLAlchemyStore(url, engine=self._engine)

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
