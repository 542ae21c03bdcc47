"""Agents whose state outlives the process: a mixin for any class."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin, overload

from pydantic import BaseModel, ConfigDict

from ._errors import ConfigurationError
from .stores import Persistence
from .stores.records import AgentState, Revision, StateHistory
from .structures import Migrations

__all__ = ["AgentState", "BaseAgentState", "Revision", "StateHistory", "StatefulAgent"]

T = TypeVar("T")
R = TypeVar("R")

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class BaseAgentState(BaseModel):
    """A pydantic model for a state, in which a field that it does not have is an error and not lost."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class StatefulAgent(Generic[T]):
    """A mixin that gives any class a `state` of type `T`: see `AgentState` for what it promises.

        class Counter(StatefulAgent[CounterState]):
            async def increment(self) -> int:
                async with self.state as state:
                    state.count += 1
                    return state.count

        counter = Counter(persistence=persistence)

    The type is `state_model=`, or the class attribute `STATE_MODEL`, or the argument of the base class. Agents of one
    name have one state, in whatever process; `name` is the class's in snake case if none is given. The state is the
    record `state` in the namespace `__agent_<name>`.
    """

    STATE_MODEL: ClassVar[Any] = None
    name: str
    persistence: Persistence | None = None
    """May also be set after the object was made, before its state is first used."""

    def __init__(
        self,
        *args: Any,
        persistence: Persistence | None = None,
        name: str | None = None,
        state_model: type[T] | None = None,
        state_namespace: str | None = None,
        state_key: str = "state",
        state_factory: Callable[[], T] | None = None,
        state_migrations: Migrations | None = None,
        state_history: int = 0,
        **kwargs: Any,
    ) -> None:
        """Other arguments go to the next class. `state_factory` makes the first state, where there is none."""
        super().__init__(*args, **kwargs)
        if persistence is not None:
            self.persistence = persistence
        self.name = name if name is not None else _WORDS.sub("_", type(self).__name__).lower()
        self._state: AgentState[T] | None = None
        self._state_model = state_model
        self._state_namespace = state_namespace
        self._state_options: dict[str, Any] = {
            "key": state_key,
            "factory": state_factory,
            "migrations": state_migrations,
            "history": state_history,
        }

    @property
    def state(self) -> AgentState[T]:
        """The state: `async with agent.state as state: ...`. Raises `ConfigurationError` where something is missing."""
        if self._state is None:
            if self.persistence is None:
                raise ConfigurationError(
                    f"{self.name!r} has no persistence: pass persistence=, or set it before the first use"
                )
            if not isinstance(self.persistence, Persistence):
                raise ConfigurationError(
                    f"the persistence of {self.name!r} is a {type(self.persistence).__name__}: pass the result of "
                    "'await create_persistence(...)'"
                )
            kind = self._state_model or self.STATE_MODEL or _argument(getattr(self, "__orig_class__", type(self)))
            if kind is None:
                raise ConfigurationError(
                    f"{type(self).__name__} does not define its state: write StatefulAgent[YourState], "
                    "or pass state_model="
                )
            namespace = self._state_namespace
            if namespace is None:
                namespace = f"__agent_{self.name}"
            self._state = self.persistence.state(kind, namespace, **self._state_options)
        return self._state

    @overload
    async def with_state(self, change: Callable[[T], Awaitable[R]]) -> R: ...
    @overload
    async def with_state(self, change: Callable[[T], R]) -> R: ...
    async def with_state(self, change: Callable[[T], Any]) -> Any:
        """Call a function, plain or `async`, with the state as in `async with`; return what it returns."""
        return await self.state.with_state(change)

    async def get_state(self) -> T:
        """A copy of what was saved last, or of the first state; no waiting."""
        return await self.state.get_state()

    async def clear_state(self, *, history: bool = False) -> bool:
        """Remove the state, waiting for its owner; return whether there was one. With `history` its revisions go, too."""
        return await self.state.clear_state(history=history)


def _argument(kind: Any) -> Any:
    """What `StatefulAgent` was given as its argument, through whatever classes stand between; `None`: nothing."""
    origin = get_origin(kind) or kind
    if origin is StatefulAgent:
        return next(iter(get_args(kind)), None)
    for base in origin.__dict__.get("__orig_bases__", origin.__bases__):
        if issubclass(get_origin(base) or base, StatefulAgent):
            found = _argument(base)
            if isinstance(found, TypeVar):
                given = dict(zip(origin.__parameters__, get_args(kind), strict=False))
                found = given.get(found)
            return found
    return None
