"""The mixin that gives any class a state, on every driver."""

from __future__ import annotations

from functools import partial
from typing import Any, Generic, TypeVar

import pytest
from limpet import ConfigurationError, InvalidValueError, Persistence, create_persistence
from limpet.state import BaseAgentState, StatefulAgent
from pydantic import BaseModel


class CounterState(BaseAgentState):
    count: int = 0


class CounterAgent(StatefulAgent[CounterState]):
    async def increment(self) -> int:
        async with self.state as state:
            state.count += 1
            return state.count


T = TypeVar("T", bound=BaseModel)


class Base:
    def __init__(self, first: int, *, keyword: str = "") -> None:
        self.arguments = (first, keyword)


class Mixed(StatefulAgent[CounterState], Base):
    pass


class Deeper(Mixed):
    pass


class Between(StatefulAgent[T], Generic[T]):
    pass


K = TypeVar("K")


class TwoArguments(Generic[K, T], Between[T]):
    pass


class Far(TwoArguments[int, CounterState]):
    pass


class ByAttribute(StatefulAgent[Any]):
    STATE_MODEL = CounterState


class HTTPServer2Agent(StatefulAgent[CounterState]):
    pass


class OwnState:
    """As Naylence's `BaseAgent`: a state and an `__init__` that know of no other class, and a name that is read-only."""

    def __init__(self, name: str | None = None) -> None:
        self._name, self._state = name or "its_own", None

    @property
    def name(self) -> str:
        return self._name

    @property
    def state(self) -> Any:
        raise NotImplementedError

    async def get_state(self) -> Any:
        raise NotImplementedError


class MixinFirst(StatefulAgent[CounterState], OwnState):
    pass


class MixinLast(OwnState, StatefulAgent[CounterState]):  # type: ignore[override]
    pass


class Below(MixinLast):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


@pytest.mark.parametrize("kind", [MixinFirst, MixinLast, Below])
async def test_a_class_with_a_state_of_its_own_may_stand_on_either_side(persistence: Persistence, kind: Any) -> None:
    for options, name in (({}, "its_own"), ({"name": "given"}, "given")):
        agent = kind(persistence=persistence, **options)
        assert agent.name == name
        async with agent.state as state:
            state.count += 1
        assert await agent.get_state() == await persistence.state(CounterState, f"__agent_{name}").get_state()
        assert await agent.with_state(lambda state: state.count) == 1
        assert await agent.clear_state()


async def test_an_init_that_knows_nothing_of_the_mixin(persistence: Persistence) -> None:
    class Alone(OwnState, StatefulAgent[CounterState]):  # type: ignore[override]
        def __init__(self) -> None:
            OwnState.__init__(self, "alone")

    class Loud:
        async def get_state(self) -> Any:
            return ("loud", await super().get_state())  # type: ignore[misc]

    class Cooperative(Loud, StatefulAgent[CounterState]):
        pass

    agent = Alone()
    with pytest.raises(ConfigurationError, match="persistence="):
        await agent.get_state()
    agent.persistence = persistence
    assert await agent.get_state() == CounterState()
    assert await Cooperative(persistence=persistence).get_state() == ("loud", CounterState())


async def test_the_mixin_leaves_its_arguments_to_the_next_class(persistence: Persistence) -> None:
    for kind in (Mixed, Deeper):
        agent = kind(1, keyword="k", persistence=persistence, name="a/b")
        assert agent.arguments == (1, "k")
        async with agent.state as state:
            state.count += 1
    assert (await agent.get_state()).count == 2


async def test_where_the_type_of_the_state_is_found(persistence: Persistence) -> None:
    kinds: list[Any] = [Far, ByAttribute, StatefulAgent[CounterState], Between[CounterState]]
    kinds += [TwoArguments[int, CounterState], partial(StatefulAgent, state_model=CounterState)]
    for kind in kinds:
        assert await kind(persistence=persistence).get_state() == CounterState()


async def test_what_an_agent_lacks_is_said(persistence: Persistence) -> None:
    with pytest.raises(ConfigurationError, match=r"StatefulAgent\[YourState\]"):
        await Between(persistence=persistence).get_state()
    agent = CounterAgent()
    with pytest.raises(ConfigurationError, match="persistence="):
        await agent.increment()
    agent.persistence = persistence
    assert await agent.increment() == 1


async def test_what_is_not_open_yet_is_no_persistence(persistence: Persistence) -> None:
    given: Any
    for given in ("memory://", create_persistence("memory://")):
        with pytest.raises(ConfigurationError, match="await create_persistence"):
            await CounterAgent(persistence=given).increment()


async def test_what_a_factory_gives_is_never_changed(persistence: Persistence) -> None:
    one = CounterState()
    agent = CounterAgent(persistence=persistence, state_factory=lambda: one)

    def fail(state: CounterState) -> None:
        state.count = 5
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await agent.with_state(fail)
    copy = await agent.get_state()
    copy.count = 7
    assert await agent.increment() == 1
    assert one.count == 0


async def test_what_is_no_function_is_refused(persistence: Persistence) -> None:
    wrong: Any = CounterState()
    with pytest.raises(ConfigurationError, match="returns the initial state"):
        await CounterAgent(persistence=persistence, state_factory=wrong).get_state()
    with pytest.raises(InvalidValueError, match="takes a function"):
        await CounterAgent(persistence=persistence).with_state(wrong)
    wrong = CounterAgent(persistence=persistence, state_factory=lambda: 5)  # type: ignore[arg-type,return-value]
    with pytest.raises(InvalidValueError, match="CounterState"):
        await wrong.get_state()


async def test_the_name_of_a_type_is_no_type(persistence: Persistence) -> None:
    named: Any = "CounterState"
    with pytest.raises(ConfigurationError, match="pass the type itself"):
        await CounterAgent(persistence=persistence, state_model=named).get_state()


async def test_names_and_namespaces(persistence: Persistence) -> None:
    assert CounterAgent().name == "counter_agent"
    assert HTTPServer2Agent().name == "http_server2_agent"
    agent = CounterAgent(persistence=persistence)
    assert (agent.state.namespace, agent.state.key) == ("__agent_counter_agent", "state")
    options: list[dict[str, Any]] = [{}, {"state_key": "other"}, {"state_namespace": "mine"}]
    agents = [
        CounterAgent(persistence=persistence, name=name, **each)
        for name in ("a", "a/b", "../a", "", "ä" * 300)
        for each in options[: 3 if name == "a" else 2]
    ]
    for n, each in enumerate(agents):
        async with each.state as state:
            state.count = n + 1
    assert [(await each.get_state()).count for each in agents] == list(range(1, len(agents) + 1))
