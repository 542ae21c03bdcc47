"""ADK's memory: what was said in sessions, found by its words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from google.adk.events import Event
from google.adk.memory import BaseMemoryService
from google.adk.memory.base_memory_service import SearchMemoryResponse
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.platform import time as platform_time
from google.adk.platform import uuid as platform_uuid
from google.adk.sessions import Session
from google.genai import types
from limpet import ConflictError, InvalidValueError, Persistence
from limpet.records import Record
from limpet.structures import Collection, Index, ModelCodec
from typing_extensions import override

from ._database import Database, joined
from ._words import words_of

__all__ = ["LimpetMemoryService"]

_AT_ONCE = 200
"""How many words are stored with one record. Longer texts have further records, with words only."""


class _Memory(Record):
    id: str
    owner: str
    memory: str
    content: dict[str, Any] | None = None
    """`None` for further words, and after it was deleted."""
    author: str | None = None
    timestamp: str | None = None
    at: int
    """Milliseconds since 1970, by which newer ones come first."""
    metadata: dict[str, Any] | None = None
    words: list[str]
    more: int = 0
    """How many records with further words there are."""


class LimpetMemoryService(Database, BaseMemoryService):
    """ADK's memory on any database: `Runner(..., memory_service=LimpetMemoryService("sqlite:///agent.db"))`.

    A search finds what shares words with the query, of the same user and app, what shares most of them first. It reads
    the entries of these words in an index, not all memories.
    """

    def __init__(self, database: str | Persistence | None, *, max_results: int = 10) -> None:
        """A search returns at most `max_results`. Raises `InvalidValueError` if that is less than 1."""
        super().__init__(database)
        if max_results < 1:
            raise InvalidValueError(f"max_results={max_results} finds nothing: use 1 or more")
        self._max_results = max_results
        self._driver = self.persistence.driver
        self._memories: Collection[_Memory] = Collection(
            self._driver,
            "adk.memories",
            ModelCodec(_Memory),
            id_of=lambda memory: memory.id,
            indexes=[
                Index("word", lambda memory: [joined(memory.owner, word) for word in memory.words]),
                Index("owner", lambda memory: memory.owner),
            ],
            created_at=lambda memory: memory.at,
        )

    @override
    async def add_session_to_memory(self, session: Session) -> None:
        """Remember the events of a session that have text. What is remembered, or was deleted, is not added again."""
        await self.add_events_to_memory(
            app_name=session.app_name, user_id=session.user_id, events=session.events, session_id=session.id
        )

    @override
    async def add_events_to_memory(
        self,
        *,
        app_name: str,
        user_id: str,
        events: Sequence[Event],
        session_id: str | None = None,
        custom_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Remember some events, as `add_session_to_memory` does. A search returns `custom_metadata` with them."""
        of = {} if session_id is None else {"session_id": session_id}
        entries = [
            MemoryEntry(
                id=event.id,
                content=event.content,
                author=event.author,
                timestamp=datetime.fromtimestamp(event.timestamp, UTC).isoformat(),
                custom_metadata={**of, **(custom_metadata or {})},
            )
            for event in events
            if event.content is not None and event.content.parts
        ]
        await self._add(joined(app_name, user_id), entries)

    @override
    async def add_memory(
        self,
        *,
        app_name: str,
        user_id: str,
        memories: Sequence[MemoryEntry],
        custom_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Remember entries. One with the id of a memory that is there, or was deleted, is not added again."""
        given = dict(custom_metadata or {})
        entries = [each.model_copy(update={"custom_metadata": {**given, **each.custom_metadata}}) for each in memories]
        await self._add(joined(app_name, user_id), entries)

    @override
    async def search_memory(self, *, app_name: str, user_id: str, query: str) -> SearchMemoryResponse:
        """Return the memories that share most words with `query`."""
        owner = joined(app_name, user_id)
        shared: Counter[str] = Counter()
        for word in sorted(words_of(query)):
            found = await self._memories.ids("word", joined(owner, word))
            shared.update({json.loads(id)[1]: 1 for id in reversed(found)})
        best = [memory for memory, _ in shared.most_common(5 * self._max_results)]
        read = await self._memories.get_many([_id(owner, memory) for memory in best])
        memories = [memory for memory in read if memory is not None and memory.content is not None]
        memories.sort(key=lambda memory: (-shared[memory.memory], -memory.at))
        return SearchMemoryResponse(memories=[_entry(memory) for memory in memories[: self._max_results]])

    @override
    async def delete_memory(self, *, app_name: str, user_id: str, memory_id: str | None = None) -> None:
        """Forget a memory, if there is one. Adding its session again does not bring it back."""
        owner = joined(app_name, user_id)
        known = None if memory_id is None else await self._memories.get(_id(owner, memory_id))
        if known is None:
            return
        gone: dict[str, Any] = {
            "content": None,
            "author": None,
            "timestamp": None,
            "metadata": None,
            "words": [],
            "more": 0,
        }
        for number in range(known.more, 0, -1):
            await self._memories.delete(_id(owner, known.memory, number))
        await self._memories.save(known.model_copy(update=gone))

    async def erase_user(self, *, app_name: str, user_id: str) -> int:
        """Forget everything of a user in an app, and what was deleted; return how many memories. Safe to repeat."""
        ids = await self._memories.ids("owner", joined(app_name, user_id))
        for id in ids:
            await self._memories.delete(id)
        return len({json.loads(id)[1] for id in ids})

    # Implementation.

    async def _add(self, owner: str, entries: Iterable[MemoryEntry]) -> None:
        new: dict[str, MemoryEntry] = {}
        for entry in entries:
            if entry.content.parts and words_of(_text(entry.content)):
                new.setdefault(_id(owner, entry.id or platform_uuid.new_uuid()), entry)
        ids, most = list(new), self._driver.capabilities.max_keys
        for start in range(0, len(ids), most):
            part = ids[start : start + most]
            found = await self._driver.get([self._memories.key(id) for id in part], values=False)
            for id, there in zip(part, found, strict=True):
                if there is None:
                    await self._save(owner, json.loads(id)[1], new[id])

    async def _save(self, owner: str, memory: str, entry: MemoryEntry) -> None:
        words = sorted(words_of(_text(entry.content)))
        at = max(0, round(_seconds(entry.timestamp) * 1000))
        parts = [words[start : start + _AT_ONCE] for start in range(0, len(words), _AT_ONCE)]
        for number, part in reversed(list(enumerate(parts))):
            record = _Memory(id=_id(owner, memory, number), owner=owner, memory=memory, at=at, words=part)
            if number:
                await self._memories.save(record)
                continue
            fields = {
                "content": entry.content.model_dump(mode="json", exclude_none=True),
                "author": entry.author,
                "timestamp": entry.timestamp,
                "metadata": entry.custom_metadata,
                "more": len(parts) - 1,
            }
            with suppress(ConflictError):  # somebody else added it
                await self._memories.save(record.model_copy(update=fields), if_absent=True)


def _id(owner: str, memory: str, number: int = 0) -> str:
    return joined(owner, memory, *([str(number)] if number else []))


def _text(content: types.Content) -> str:
    return " ".join(part.text for part in content.parts or () if part.text and not part.thought)


def _seconds(timestamp: str | None) -> float:
    try:
        return datetime.fromisoformat(timestamp or "").timestamp()
    except ValueError:
        return platform_time.get_time()


def _entry(memory: _Memory) -> MemoryEntry:
    return MemoryEntry(
        id=memory.memory,
        content=types.Content.model_validate(memory.content),
        author=memory.author,
        timestamp=memory.timestamp,
        custom_metadata=memory.metadata or {},
    )
