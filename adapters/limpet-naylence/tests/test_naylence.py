"""The adapter under Naylence's own classes: profiles, providers, agents, and two processes at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from limpet import ConfigurationError, Persistence, open_persistence
from limpet.state import StatefulAgent
from limpet_adapters.naylence import LimpetAgent, LimpetStorageProvider, LimpetStorageProviderFactory
from naylence.agent import BaseAgent, BaseAgentState
from naylence.fame.storage.in_memory_storage_provider import InMemoryStorageProvider
from naylence.fame.storage.storage_profile_factory import StorageProfileFactory
from pydantic import BaseModel


class Counted(BaseAgentState):
    count: int = 0


class Note(BaseModel):
    text: str
    extra: str | None = "default"


class Counter(LimpetAgent[Counted]):
    pass


def url_of(folder: Path) -> str:
    return f"sqlite:///{(folder / 'agents.db').as_posix()}"


@pytest.fixture
async def persistence(tmp_path: Path) -> AsyncIterator[Persistence]:
    opened = open_persistence(url_of(tmp_path))
    yield opened
    await opened.aclose()


async def test_the_profile_needs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAME_STORAGE_PROFILE", "limpet")
    monkeypatch.setenv("LIMPET_URL", url_of(tmp_path))
    provider = await StorageProfileFactory().create({"type": "StorageProfile", "profile": "limpet"})
    assert isinstance(provider, LimpetStorageProvider)
    await (await provider.get_kv_store(Note, "__node_meta")).set("self", Note(text="x"))
    await provider.persistence.aclose()
    assert (tmp_path / "agents.db").exists()


async def test_the_profile_encrypts_with_the_key_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAME_STORAGE_PROFILE", "limpet")
    monkeypatch.setenv("LIMPET_URL", url_of(tmp_path))
    monkeypatch.setenv("LIMPET_ENCRYPTION_KEY", "07" * 32)
    provider: Any = await StorageProfileFactory().create({"type": "StorageProfile", "profile": "limpet"})
    await (await provider.get_kv_store(Note, "notes")).set("a", Note(text="a secret"))
    await provider.persistence.aclose()
    assert b"a secret" not in (tmp_path / "agents.db").read_bytes()


async def test_a_configuration_names_the_place(tmp_path: Path) -> None:
    config = {"type": "LimpetStorageProvider", "url": url_of(tmp_path)}
    provider = await LimpetStorageProviderFactory().create(config)
    await (await provider.get_kv_store(Note, "n")).set("a", Note(text="x"))
    await provider.persistence.aclose()


async def test_records_are_as_naylence_has_them(persistence: Persistence) -> None:
    provider = LimpetStorageProvider(persistence)
    store = await provider.get_kv_store(model_cls=Note, namespace="__delivery_outbox")
    assert await store.get("a") is None
    assert await store.list() == {}
    with pytest.raises(KeyError):
        await store.update("a", Note(text="x"))
    await store.set("a", Note(text="x", extra=None))
    await store.update("a", Note(text="y", extra=None))
    assert await store.get("a") == Note(text="y", extra=None), "None stays None"
    await store.delete("a")
    await store.delete("a")
    other = await provider.get_kv_store(Note, "../escaped")
    await other.set("a", Note(text="z"))
    assert await store.list() == {}
    assert await other.list() == {"a": Note(text="z")}


class MixinFirst(StatefulAgent[Counted], BaseAgent):  # type: ignore[misc]
    pass


class MixinLast(BaseAgent, StatefulAgent[Counted]):  # type: ignore[misc]
    pass


class Generic(BaseAgent[Counted], StatefulAgent[Counted]):  # type: ignore[misc]
    pass


@pytest.mark.parametrize("kind", [MixinFirst, MixinLast, Generic, Counter])
async def test_an_agent_keeps_its_state(persistence: Persistence, kind: Any) -> None:
    for options, name in (({}, None), ({"name": "given"}, "given")):
        one, two = (kind(persistence=persistence, **options) for _ in range(2))
        assert name in (None, one.name)
        await asyncio.gather(*(_increment(agent) for agent in (one, two) for _ in range(10)))
        assert (await one.get_state()).count == 20
        assert await one.clear_state()
        assert await two.get_state() == Counted()


async def _increment(agent: Any) -> None:
    async with agent.state as state:
        state.count += 1


async def test_a_block_that_raises_changes_nothing(persistence: Persistence) -> None:
    agent = Counter(persistence=persistence)

    async def fail() -> None:
        async with agent.state as state:
            state.count = 99
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await agent.get_state() == Counted()


async def test_the_storage_of_the_node_is_where_the_state_lies(persistence: Persistence) -> None:
    agent = Counter()
    agent._storage_provider = LimpetStorageProvider(persistence)
    await _increment(agent)
    assert (await Counter(persistence=persistence).get_state()).count == 1
    elsewhere = Counter()
    elsewhere._storage_provider = InMemoryStorageProvider()
    with pytest.raises(ConfigurationError, match="FAME_STORAGE_PROFILE=limpet"):
        await elsewhere.get_state()


PROCESS = """
import asyncio, sys
from limpet import open_persistence
from limpet_adapters.naylence import LimpetAgent
from naylence.agent import BaseAgentState

class Counted(BaseAgentState):
    count: int = 0

class Counter(LimpetAgent[Counted]):
    pass

async def main():
    agent = Counter(persistence=open_persistence(sys.argv[1]))
    for _ in range(20):
        async with agent.state as state:
            state.count += 1

asyncio.run(main())
"""


async def test_two_processes_lose_no_increment(tmp_path: Path, persistence: Persistence) -> None:
    await Counter(persistence=persistence).get_state()
    command = [sys.executable, "-c", PROCESS, url_of(tmp_path)]
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(2)]
    assert [await process.wait() for process in processes] == [0, 0]
    assert (await Counter(persistence=persistence).get_state()).count == 40
