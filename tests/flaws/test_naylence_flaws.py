"""The flaws of Naylence's key-value stores and agent state that somebody reproduced.

As in `conftest`: each test runs on Limpet and on a small model of the old design, where it has to fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from limpet import CorruptDataError, Persistence, create_persistence
from limpet.opening import driver_from_url
from limpet.state import BaseAgentState, StatefulAgent
from limpet.stores import KeyValueStore
from limpet.structures import Migrations
from pydantic import BaseModel


class OldStub:
    """Naylence's Protocol: a method that an implementation forgets answers None and does nothing."""

    async def update(self, key: str, value: Any) -> None: ...


class OldStore(OldStub):
    """A namespace on disk as one class read it first; with `cache` as the encrypting provider kept it."""

    def __init__(self, model: Any, rows: dict[str, str], *, cache: bool = False) -> None:
        self.model, self.rows = model, rows
        self.cache: dict[str, Any] | None = {} if cache else None

    async def set(self, key: str, value: Any) -> None:
        self.rows[key] = value.model_dump_json(by_alias=True, exclude_none=True)
        if self.cache is not None:
            self.cache[key] = value

    async def get(self, key: str) -> Any:
        await asyncio.sleep(0)
        if self.cache is not None and key in self.cache:
            return self.cache[key]
        return self.model.model_validate_json(self.rows[key]) if key in self.rows else None

    async def delete(self, key: str) -> None:
        self.rows.pop(key, None)

    async def list(self) -> dict[str, Any]:
        found = {}
        for key, row in self.rows.items():
            try:
                found[key] = self.model.model_validate_json(row)
            except ValueError:
                continue
        return found


class OldAgent:
    """One lock and one cached state for each object; the state's model is built before it is loaded."""

    def __init__(self, store: OldStore, model: Any, factory: Callable[[], Any] | None) -> None:
        self.store, self.model, self.factory = store, model, factory
        self.cached: Any = None
        self.lock = asyncio.Lock()

    @property
    def state(self) -> OldAgent:
        self.model()
        return self

    async def __aenter__(self) -> Any:
        await self.lock.acquire()
        return await self._load()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.store.set("state", self.cached)
        self.lock.release()

    async def _load(self) -> Any:
        if self.cached is None:
            self.cached = await self.store.get("state")
        if self.cached is None:
            self.cached = (self.factory or self.model)()
            await self.store.set("state", self.cached)
        return self.cached

    async def get_state(self) -> Any:
        return await self._load()

    async def clear_state(self) -> None:
        if self.cached is not None:
            await self.store.set("state", None)


class OldDesign:
    """Naylence's providers: the plain one finds a store by its namespace alone, the encrypting one makes a new one each time."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, str]] = {}
        self.stores: dict[str, OldStore] = {}

    async def store(self, model: Any, namespace: str) -> OldStore:
        if namespace not in self.stores:
            self.stores[namespace] = OldStore(model, self.rows.setdefault(f"{namespace}/kv_{model.__name__}", {}))
        return self.stores[namespace]

    async def encrypted(self, model: Any, namespace: str) -> OldStore:
        return OldStore(model, self.rows.setdefault(f"{namespace}/kv_encrypted_value", {}), cache=True)

    def agent(self, model: Any, factory: Callable[[], Any] | None = None) -> OldAgent:
        return OldAgent(OldStore(model, self.rows.setdefault("__agent_counter", {})), model, factory)

    async def stored(self) -> dict[str, str]:
        return self.rows.get("__agent_counter", {})

    async def later_release(self, model: Any, steps: Migrations) -> Any:
        """The agent of a later release, whose state has other fields."""
        return self.agent(model)


class NewDesign:
    def __init__(self, persistence: Persistence) -> None:
        self.persistence = persistence

    async def store(self, model: Any, namespace: str) -> KeyValueStore[Any]:
        return await self.persistence.get_kv_store(model_cls=model, namespace=namespace)

    encrypted = store

    def agent(self, model: Any, factory: Callable[[], Any] | None = None, **options: Any) -> Any:
        return StatefulAgent[Any](
            persistence=self.persistence, name="counter", state_model=model, state_factory=factory, **options
        )

    async def stored(self) -> dict[str, str]:
        (item,) = await self.persistence.driver.get(["state!@__agent_counter!@state"])
        return {} if item is None else {"state": str(item.value)}

    async def later_release(self, model: Any, steps: Migrations) -> Any:
        return self.agent(model, state_migrations=steps)


OLD = pytest.param(
    "old", marks=pytest.mark.xfail(strict=True, reason="the flaw of the old design", raises=AssertionError)
)


@pytest.fixture(params=["new", OLD])
async def design(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "old":
        yield OldDesign()
        return
    async with driver_from_url("memory://") as driver, create_persistence(driver) as persistence:
        yield NewDesign(persistence)


async def outcome(call: Awaitable[Any]) -> Any:
    """What a call answers, or which error it raises."""
    try:
        return await call
    except (AttributeError, LookupError, RuntimeError, TimeoutError, ValueError, ZeroDivisionError) as error:
        return type(error)


async def increment(agent: Any) -> None:
    async with agent.state as state:
        state.count += 1


class Counter(BaseAgentState):
    count: int = 0


class Settings(BaseModel):
    theme: str | None = "dark"


class Other(BaseModel):
    size: int = 3


# Key-value stores.


async def test_a_none_that_was_set_stays(design: Any) -> None:
    store = await design.store(Settings, "settings")
    await store.set("u", Settings(theme=None))
    assert await store.get("u") == Settings(theme=None)


async def test_an_update_is_stored_also_where_values_are_encrypted(design: Any) -> None:
    store = await design.encrypted(Settings, "settings")
    await store.set("u", Settings())
    await store.update("u", Settings(theme="light"))
    assert (await store.get("u")).theme == "light"


async def test_an_update_of_nothing_is_an_error_also_where_values_are_encrypted(design: Any) -> None:
    store = await design.encrypted(Settings, "settings")
    error = await outcome(store.update("u", Settings()))
    assert error is not None
    assert issubclass(error, KeyError)


async def test_two_classes_on_one_namespace_read_each_its_own(design: Any) -> None:
    await (await design.store(Settings, "shared")).set("u", Settings())
    assert type(await (await design.store(Other, "shared")).get("u")) is Other


async def test_a_class_that_was_renamed_finds_its_data(design: Any) -> None:
    await (await design.store(Settings, "settings")).set("u", Settings(theme="light"))
    design.stores = {}  # the next start of the program

    class Preferences(Settings):
        pass

    assert dict(await (await design.store(Preferences, "settings")).list()) == {"u": Preferences(theme="light")}


async def test_a_list_leaves_nothing_out_in_silence(design: Any) -> None:
    class Strict(BaseAgentState):
        size: int

    await (await design.encrypted(Settings, "shared")).set("u", Settings())
    assert await outcome((await design.encrypted(Strict, "shared")).list()) is CorruptDataError


async def test_an_unreadable_record_is_named(design: Any) -> None:
    class Strict(BaseAgentState):
        size: int

    await (await design.encrypted(Settings, "shared")).set("user-1", Settings())
    store = await design.encrypted(Strict, "shared")
    with pytest.raises(ValueError) as caught:
        await store.get("user-1")
    assert "user-1" in str(caught.value)
    assert "shared" in str(caught.value)


async def test_changing_what_was_read_changes_nothing_stored(design: Any) -> None:
    store = await design.encrypted(Settings, "settings")
    value = Settings()
    await store.set("u", value)
    value.theme = "changed by its writer"
    (await store.get("u")).theme = "changed by its reader"
    assert await store.get("u") == Settings()


async def test_two_handles_see_each_others_writes(design: Any) -> None:
    one, other = [await design.encrypted(Settings, "settings") for _ in range(2)]
    await one.set("u", Settings(theme="first"))
    await other.set("u", Settings(theme="second"))
    assert (await one.get("u")).theme == "second"


async def test_deleting_says_whether_there_was_something(design: Any) -> None:
    store = await design.store(Settings, "settings")
    await store.set("u", Settings())
    assert (await store.delete("u"), await store.delete("u")) == (True, False)


# Agent state.


async def test_two_instances_lose_no_update(design: Any) -> None:
    one, other = design.agent(Counter), design.agent(Counter)
    for agent in (one, other, one, other):
        await increment(agent)
    assert (await design.agent(Counter).get_state()).count == 4


async def test_concurrent_instances_lose_no_update(design: Any) -> None:
    agents = [design.agent(Counter) for _ in range(5)]
    await asyncio.gather(*(increment(agent) for agent in agents for _ in range(4)))
    assert (await design.agent(Counter).get_state()).count == 20


async def fail(agent: Any) -> None:
    async with agent.state as state:
        state.count = 100
        raise ZeroDivisionError


async def test_after_an_exception_nothing_dirty_is_shown(design: Any) -> None:
    agent = design.agent(Counter)
    await increment(agent)
    assert await outcome(fail(agent)) is ZeroDivisionError
    assert (await agent.get_state()).count == 1


async def test_after_an_exception_nothing_dirty_is_saved_later(design: Any) -> None:
    agent = design.agent(Counter)
    await increment(agent)
    assert await outcome(fail(agent)) is ZeroDivisionError
    await increment(agent)
    assert (await design.agent(Counter).get_state()).count == 2


async def test_reading_writes_nothing(design: Any) -> None:
    assert (await design.agent(Counter).get_state()).count == 0
    assert await design.stored() == {}


async def test_get_state_is_a_copy(design: Any) -> None:
    agent = design.agent(Counter)
    await increment(agent)
    (await agent.get_state()).count = 100
    assert (await agent.get_state()).count == 1


async def test_clear_state_clears_after_use(design: Any) -> None:
    agent = design.agent(Counter)
    await increment(agent)
    assert await outcome(agent.clear_state()) is not AttributeError
    assert await design.stored() == {}


async def test_clear_state_clears_on_an_agent_that_was_not_used_yet(design: Any) -> None:
    await increment(design.agent(Counter))
    await design.agent(Counter).clear_state()
    assert await design.stored() == {}


async def test_a_state_with_required_fields_works_with_a_factory(design: Any) -> None:
    class Owned(BaseAgentState):
        owner: str
        count: int = 0

    agent = design.agent(Owned, lambda: Owned(owner="ada"))
    assert await outcome(increment(agent)) is None
    assert await agent.get_state() == Owned(owner="ada", count=1)


async def test_nested_entry_is_an_error_and_not_a_deadlock(design: Any) -> None:
    agent = design.agent(Counter)

    async def nested() -> None:
        async with agent.state, asyncio.timeout(0.2):
            await increment(agent)

    error = await outcome(nested())
    assert issubclass(error, RuntimeError)
    assert not issubclass(error, TimeoutError)


async def test_a_state_whose_fields_changed_is_migrated(design: Any) -> None:
    class Renamed(BaseAgentState):
        total: int = 0

    steps = Migrations(version=2)
    steps.step(1)(lambda state: {"total": state["count"]})
    await increment(design.agent(Counter))
    later = await design.later_release(Renamed, steps)
    assert await outcome(later.get_state()) == Renamed(total=1)
