"""Agents whose state outlives the process, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from .._errors import ConfigurationError
from ..structures import Migrations
from ._persistence import Persistence
from ._records import AgentState

__all__ = ["StatefulAgent"]

R = TypeVar("R")
T = TypeVar("T")

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class StatefulAgent(Generic[T]):
    """A mixin that gives any class a `state` of type `T`: see `AgentState` for what it promises.

        class Counter(StatefulAgent[CounterState]):
            def increment(self) -> int:
                with self.state as state:
                    state.count += 1
                    return state.count

        counter = Counter(persistence=persistence)

    The type is `state_model=`, or the class attribute `STATE_MODEL`, or the argument of the base class. Agents of one
    name have one state, in whatever process; `name` is the class's in snake case if none is given. The state is at the
    key `state` in the namespace `__agent_<name>`.

    Beside a class that has a `state` of its own, such as Naylence's `BaseAgent`, this one is used, in whatever order
    the two are written. `name` is then passed to that class, too.
    """

    STATE_MODEL: ClassVar[Any] = None
    name: str
    persistence: Persistence | None = None
    """May also be set after the object was made, before its state is first used."""

    # For objects whose `__init__` does not call this class's: everything as if no argument had been given.
    __state: AgentState[T] | None = None
    __model: type[T] | None = None
    __namespace: str | None = None
    __options: Mapping[str, Any] = MappingProxyType({})

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
        following = self.__next_init()
        if name is not None and "name" in signature(following).parameters:
            kwargs["name"] = name
        following(*args, **kwargs)
        if persistence is not None:
            self.persistence = persistence
        known = getattr(self, "name", None)  # of the class, or set by the next class, perhaps read-only
        wanted = name if name is not None else known or _WORDS.sub("_", type(self).__name__).lower()
        if known != wanted:
            self.name = wanted
        self.__state = None
        self.__model = state_model
        self.__namespace = state_namespace
        self.__options = {
            "key": state_key,
            "factory": state_factory,
            "migrations": state_migrations,
            "history": state_history,
        }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        owner = next(each for each in cls.__mro__ if "state" in vars(each))
        if issubclass(owner, StatefulAgent):
            return
        # A class with a state of its own stands before this one, and knows nothing of it.
        for name in {"__init__", "state", "with_state", "get_state", "clear_state"} - vars(cls).keys():
            setattr(cls, name, vars(StatefulAgent)[name])

    def __next_init(self) -> Callable[..., None]:
        """`__init__` of the next class: of one that stands before this class, if there is one; see `__init_subclass__`."""
        mine = vars(StatefulAgent)["__init__"]
        last: type = next(each for each in type(self).__mro__ if vars(each).get("__init__") is mine)
        following: Callable[..., None] = super(last, self).__init__  # type: ignore[arg-type]
        return following

    @property
    def state(self) -> AgentState[T]:
        """The state: `with agent.state as state: ...`. Raises `ConfigurationError` where something is missing."""
        if self.__state is None:
            if self.persistence is None:
                raise ConfigurationError(
                    f"{self.name!r} has no persistence: pass persistence=, or set it before the first use"
                )
            if not isinstance(self.persistence, Persistence):
                raise ConfigurationError(
                    f"the persistence of {self.name!r} is a {type(self.persistence).__name__}: pass the result of "
                    "'create_persistence(...)'"
                )
            kind = self.__model or self.STATE_MODEL or _argument(getattr(self, "__orig_class__", type(self)))
            if kind is None:
                raise ConfigurationError(
                    f"{type(self).__name__} does not define its state: write StatefulAgent[YourState], "
                    "or pass state_model="
                )
            namespace = self.__namespace
            if namespace is None:
                namespace = f"__agent_{self.name}"
            self.__state = self.persistence.state(kind, namespace, **self.__options)
        return self.__state

    def with_state(self, change: Callable[[T], R]) -> R:
        """Call a function with the state as in `with`; return what it returns."""
        return self.state.with_state(change)

    def get_state(self) -> T:
        """A copy of what was saved last, or of the first state; no waiting."""
        return self.state.get_state()

    def clear_state(self, *, history: bool = False) -> bool:
        """Remove the state, waiting for its owner; return whether there was one. With `history` its revisions go, too."""
        return self.state.clear_state(history=history)


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
