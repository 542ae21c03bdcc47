"""The design of AgentX's event queue (1.9, TypeScript) in Python: a row for each event, cursors from the clock, callbacks."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["AgentxQueue"]


class AgentxQueue:
    """`sqlite3`, called where the event loop runs, as its `publish` is a plain function. WAL, and AgentX's own tables.

    `durable` is `synchronous=FULL`, which our SQLite driver has; AgentX leaves it to the runtime.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self._db.execute(
            "CREATE TABLE queue_entries (id INTEGER PRIMARY KEY AUTOINCREMENT, cursor TEXT NOT NULL UNIQUE, "
            "topic TEXT NOT NULL, event TEXT NOT NULL, timestamp INTEGER NOT NULL)"
        )
        self._db.execute("CREATE INDEX idx_queue_topic_cursor ON queue_entries (topic, cursor)")
        self._db.execute("CREATE INDEX idx_queue_timestamp ON queue_entries (timestamp)")
        self._handlers: list[Callable[[], object]] = []
        self._last, self._count = 0, 0

    async def publish(self, topic: str, event: object) -> None:
        now = time.time_ns() // 1_000_000
        self._count = self._count + 1 if now == self._last else 0
        self._last = now
        self._db.execute(
            "INSERT INTO queue_entries (cursor, topic, event, timestamp) VALUES (?, ?, ?, ?)",
            (f"{now:x}-{self._count:04}", topic, json.dumps(event), now),
        )
        for handler in self._handlers:
            handler()

    async def subscribe(self, topic: str, handler: Callable[[], object]) -> None:
        self._handlers.append(handler)

    async def close(self) -> None:
        self._db.close()
