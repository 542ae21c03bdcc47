"""The rules that ADK documents for memory services, and what a search finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from google.adk.events import Event
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.sessions import Session
from google.genai import types
from limpet import InvalidValueError, Persistence
from limpet.driver import Range
from limpet_adapters.adk import LimpetMemoryService

OF = {"app_name": "app", "user_id": "ada"}


@pytest.fixture
def service(persistence: Persistence) -> LimpetMemoryService:
    return LimpetMemoryService(persistence)


def said(text: str, id: str = "", timestamp: float = 1.0) -> Event:
    return Event(id=id, author="user", timestamp=timestamp, content=content(text))


def content(text: str) -> types.Content:
    return types.Content(role="user", parts=[types.Part(text=text)])


async def found(service: LimpetMemoryService, query: str, user_id: str = "ada") -> list[str]:
    response = await service.search_memory(app_name="app", user_id=user_id, query=query)
    return [str(memory.content.parts[0].text) for memory in response.memories if memory.content.parts]


async def test_a_session_is_found_by_its_words(service: LimpetMemoryService) -> None:
    events = [said("I like Python, a lot", "e1", 1700000000.5), Event(author="user"), said("and the sea", "e2")]
    session = Session(id="s1", **OF, events=events)
    await service.add_session_to_memory(session)
    await service.add_session_to_memory(session)
    (memory,) = (await service.search_memory(**OF, query="what about PYTHON?")).memories
    assert (memory.id, memory.author, memory.content) == ("e1", "user", content("I like Python, a lot"))
    assert memory.timestamp == "2023-11-14T22:13:20.500000+00:00"
    assert memory.custom_metadata == {"session_id": "s1"}
    assert await found(service, "pyth") == await found(service, "") == await found(service, "?!") == []
    assert await found(service, "python", user_id="bob") == []
    assert (await service.search_memory(app_name="other", user_id="ada", query="python")).memories == []


async def test_events_are_added_to_what_is_there_once(service: LimpetMemoryService) -> None:
    await service.add_events_to_memory(**OF, events=[said("first sea", "e1")])
    await service.add_events_to_memory(
        **OF, events=[said("first sea", "e1"), said("second sea", "e2", 2.0)], session_id="s"
    )
    assert await found(service, "sea") == ["second sea", "first sea"]
    await service.add_events_to_memory(**OF, events=[said("rated", "e3")], session_id="s", custom_metadata={"stars": 5})
    (rated,) = (await service.search_memory(**OF, query="rated")).memories
    assert rated.custom_metadata == {"session_id": "s", "stars": 5}


async def test_what_shares_most_words_comes_first(persistence: Persistence) -> None:
    service = LimpetMemoryService(persistence, max_results=3)
    texts = ["red", "red green", "red green blue", "yellow", "red red red", "blue"]
    await service.add_events_to_memory(**OF, events=[said(text, f"e{n}", float(n)) for n, text in enumerate(texts)])
    assert await found(service, "red green blue") == ["red green blue", "red green", "blue"]
    with pytest.raises(InvalidValueError):
        LimpetMemoryService(persistence, max_results=0)


@pytest.mark.parametrize(
    ("text", "query", "is_found"),
    [
        ("Straße nach Zürich", "ZÜRICH", True),
        ("Straße nach Zürich", "zurich", False),
        ("私はPythonを使う", "Python", True),
        ("私はPythonを使う", "thon", False),
        ("東京タワーに行きました", "東京", True),
        ("東京タワーに行きました", "京都", False),
        ("Москва и море", "море", True),
        ("Москва и море", "мор", False),
        ("ราคาเท่าไหร่", "ราคา", True),
        ("cafe\u0301 au lait", "café", True),
        ("snake_case", "snake_case", True),
        ("猫", "猫", True),
    ],
)
async def test_languages(service: LimpetMemoryService, text: str, query: str, is_found: bool) -> None:
    await service.add_events_to_memory(**OF, events=[said(text)])
    assert await found(service, query) == ([text] if is_found else [])


async def test_a_long_text_is_found_by_each_of_its_words(service: LimpetMemoryService) -> None:
    text = " ".join(f"word{n}" for n in range(1500))
    await service.add_events_to_memory(**OF, events=[said(text, "e1"), said("word1499", "e2")])
    assert await found(service, "word0 word777 word1499") == [text, "word1499"]
    await service.delete_memory(**OF, memory_id="e1")
    assert await found(service, "word0 word777 word1499") == ["word1499"]


async def test_a_deleted_memory_does_not_come_back(service: LimpetMemoryService) -> None:
    session = Session(id="s1", **OF, events=[said("the sea", "e1"), said("the sea again", "e2")])
    await service.add_session_to_memory(session)
    for id in ("e1", "e1", "unknown", "", None):
        await service.delete_memory(**OF, memory_id=id)
    await service.add_session_to_memory(session)
    assert await found(service, "sea") == ["the sea again"]
    assert [memory.id for memory in (await service.search_memory(**OF, query="the")).memories] == ["e2"]


async def test_one_user_is_erased(service: LimpetMemoryService, persistence: Persistence) -> None:
    long = " ".join(f"word{n}" for n in range(500))
    for user in ("ada", "bob"):
        events = [said("the sea", "e1"), said(long, "e2"), said("deleted sea", "e3")]
        await service.add_events_to_memory(app_name="app", user_id=user, events=events)
        await service.delete_memory(app_name="app", user_id=user, memory_id="e3")
    assert await service.erase_user(**OF) == 3
    assert await service.erase_user(**OF) == 0
    assert await found(service, "sea word1 word499") == []
    assert await found(service, "sea", user_id="bob") == ["the sea"]
    await service.erase_user(app_name="app", user_id="bob")
    left = await persistence.driver.scan(Range("adk.memories", limit=10))
    assert left.items == [], "nor a trace of what was deleted before"


async def test_entries_of_ones_own(service: LimpetMemoryService) -> None:
    entries = [
        MemoryEntry(content=content("likes trains"), author="me", timestamp="2026-01-02", custom_metadata={"a": 1}),
        MemoryEntry(id="m1", content=content("likes boats"), timestamp="long ago"),
        MemoryEntry(content=types.Content(parts=[types.Part(text="a thought of likes", thought=True)])),
    ]
    await service.add_memory(**OF, memories=entries, custom_metadata={"a": 0, "b": 0})
    memories = {
        memory.content.parts[0].text: memory
        for memory in (await service.search_memory(**OF, query="likes")).memories
        if memory.content.parts
    }
    assert set(memories) == {"likes trains", "likes boats"}
    trains, boats = memories["likes trains"], memories["likes boats"]
    assert (trains.author, trains.timestamp, trains.custom_metadata) == ("me", "2026-01-02", {"a": 1, "b": 0})
    assert trains.id
    assert (boats.id, boats.timestamp, boats.custom_metadata) == ("m1", "long ago", {"a": 0, "b": 0})


async def test_adding_a_session_many_times_at_once(
    service: LimpetMemoryService, reopened: Callable[[], Persistence]
) -> None:
    session = Session(id="s1", **OF, events=[said(f"sea number {n}", f"e{n}") for n in range(5)])
    await asyncio.gather(*(service.add_session_to_memory(session) for _ in range(5)))
    assert sorted(await found(LimpetMemoryService(reopened()), "sea")) == [f"sea number {n}" for n in range(5)]
