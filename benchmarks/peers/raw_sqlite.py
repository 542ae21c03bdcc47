"""The raw client: aiosqlite, on a table as bare as it can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiosqlite

__all__ = ["RawSqlite"]


class RawSqlite:
    """WAL and `synchronous=FULL`: what is acknowledged is on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: aiosqlite.Connection

    async def open(self) -> None:
        self._db = await aiosqlite.connect(self._path, isolation_level=None)
        await self._db.execute("PRAGMA journal_mode=WAL")
        await self._db.execute("PRAGMA synchronous=FULL")
        await self._db.execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT NOT NULL)")

    async def close(self) -> None:
        await self._db.close()

    async def set(self, key: str, value: Any) -> None:
        await self._db.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", (key, json.dumps(value)))

    async def get(self, key: str) -> Any:
        rows = await self._db.execute_fetchall("SELECT value FROM kv WHERE key = ?", (key,))
        return json.loads(next(iter(rows))[0])
