"""LangGraph's savers on SQLite and PostgreSQL, as shipped."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, create_checkpoint, empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

__all__ = ["LangGraph"]


class LangGraph:
    """A saver, given a step as LangGraph's own loop gives it: all channels, and the versions of those that changed."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self._stack = AsyncExitStack()
        self.saver: BaseCheckpointSaver[Any]

    @classmethod
    def on_sqlite(cls, path: Path) -> LangGraph:
        return cls(AsyncSqliteSaver.from_conn_string(str(path)))

    @classmethod
    def on_postgresql(cls, url: str) -> LangGraph:
        return cls(AsyncPostgresSaver.from_conn_string(url))

    async def open(self) -> None:
        self.saver = await self._stack.enter_async_context(self._opened)
        await self.saver.setup()

    async def close(self) -> None:
        await self._stack.aclose()

    async def put(self, thread: str, step: int, channels: Mapping[str, Any]) -> None:
        """The `step`-th of a thread, in which the messages changed, and the first time all channels."""
        versions: dict[str, str | int | float] = {name: step + 1 if name == "messages" else 1 for name in channels}
        changed = versions if step == 0 else {"messages": versions["messages"]}
        checkpoint = create_checkpoint(empty_checkpoint(), None, step)
        checkpoint["channel_values"], checkpoint["channel_versions"] = dict(channels), versions
        config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        await self.saver.aput(config, checkpoint, {"source": "loop", "step": step}, changed)

    async def latest(self, thread: str) -> Any:
        """The channels of the latest checkpoint."""
        config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        found = await self.saver.aget_tuple(config)
        assert found is not None
        return found.checkpoint["channel_values"]
