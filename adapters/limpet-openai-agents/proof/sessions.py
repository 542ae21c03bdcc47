"""Puts `LimpetSession` in the place of `SQLiteSession`, for tests that take a session by that name."""

from __future__ import annotations

from typing import Any

import agents
from limpet import Persistence, open_persistence
from limpet_adapters.openai_agents import LimpetSession
from proof.places import place, wrappers

_OPEN: dict[str, Persistence] = {}


def _database(path: str) -> Persistence:
    """The database that stands for a file: the same one for the same path."""
    if path not in _OPEN:
        _OPEN[path] = open_persistence(place(path), wrappers=wrappers())
    return _OPEN[path]


class SQLiteSession(LimpetSession):
    """As the SDK's, by its arguments."""

    def __init__(self, session_id: str, db_path: Any = ":memory:", **options: Any) -> None:
        settings = options.get("session_settings")
        own = open_persistence(place(), wrappers=wrappers()) if str(db_path) == ":memory:" else _database(str(db_path))
        super().__init__(session_id, persistence=own, session_settings=settings)


agents.SQLiteSession = SQLiteSession  # type: ignore[misc, assignment]
