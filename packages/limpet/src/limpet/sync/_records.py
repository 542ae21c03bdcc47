"""Typed values by key, and the states of agents, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import Generic, TypeVar

from ..driver import Etag
from ..state import AgentState as AsyncAgentState
from ..state import Revision
from ..state import StateHistory as AsyncStateHistory
from ..stores import KeyValueStore as AsyncKeyValueStore
from ._face import Face
from ._listing import Listing

__all__ = ["AgentState", "KeyValueStore", "StateHistory"]

R = TypeVar("R")
T = TypeVar("T")
V = TypeVar("V")


class KeyValueStore(Face[AsyncKeyValueStore[V]], Generic[V]):
    """The values of one type in one namespace. Making the object does no IO; keep it, it is what knows the type.

    `kind` is a pydantic model, or any type that pydantic can adapt. Stores on one namespace share its data, and each
    reads it as its own type. What `get` returned is the caller's own: changing it changes nothing that is stored.

    A value that is not a valid `kind` raises a `CorruptDataError` that names it, in every method that reads values;
    `migrations` repair it: it is migrated when read and stored in the current version when next written.
    """

    def get(self, key: str) -> V | None:
        """Return the value or `None`. One driver call, like every method that does not say otherwise."""
        return self._call(self._inner.get, key)

    def get_with_etag(self, key: str) -> tuple[V, Etag] | None:
        """The value with its version, for `set(..., if_match=etag)`."""
        return self._call(self._inner.get_with_etag, key)

    def exists(self, key: str) -> bool:
        """Whether there is a value; it is not read."""
        return self._call(self._inner.exists, key)

    def set(
        self,
        key: str,
        value: V,
        *,
        ttl: float | timedelta | None = None,
        if_match: Etag | None = None,
        if_absent: bool = False,
    ) -> Etag:
        """Store a value, new or not, and return its etag. What was there is replaced, its expiry too.

        `ttl` is in seconds (or a timedelta), more than 0. Raises `ConflictError` where `if_match` or `if_absent` does
        not hold, `InvalidValueError` for a value that is not of the store's type or would not come back equal.
        """
        return self._call(self._inner.set, key, value, ttl=ttl, if_match=if_match, if_absent=if_absent)

    def replace(
        self, key: str, value: V, *, ttl: float | timedelta | None = None, if_match: Etag | None = None
    ) -> Etag:
        """Replace an existing value, otherwise like `set`. Raises `NotFoundError`, which is a `KeyError`."""
        return self._call(self._inner.replace, key, value, ttl=ttl, if_match=if_match)

    def update(self, key: str, change: V | Callable[[V], V], *, once: str | None = None) -> V:
        """Replace a value with `change(value)`, starting over if someone else writes first; return the new value.

        `change` is a plain function that may run more than once. The expiry is kept. Two driver calls. Raises
        `NotFoundError`, which is a `KeyError`, if the key does not exist. `once` makes a retry after
        `OutcomeUnknownError` safe: with the same token it changes nothing a second time. Raises `ConflictError` where
        that token came with another function; the same token for another key is another call.

        What is not a function is the new value itself, as in Naylence: the last writer wins.
        """
        return self._call(self._inner.update, key, change, once=once)

    def delete(self, key: str, *, if_match: Etag | None = None) -> bool:
        """Remove a value; return whether there was one. Raises `ConflictError` with `if_match`."""
        return self._call(self._inner.delete, key, if_match=if_match)

    def get_many(self, keys: Iterable[str]) -> dict[str, V | None]:
        """Return the values of several keys, in order; `None` for missing ones."""
        return self._call(self._inner.get_many, keys)

    def set_many(self, values: Mapping[str, V], *, ttl: float | timedelta | None = None) -> dict[str, Etag]:
        """Store several values, all or none, and return their etags.

        Raises `TooLargeError`, and stores nothing, for more than the driver takes in one batch: use several calls.
        """
        return self._call(self._inner.set_many, values, ttl=ttl)

    def keys(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """Every key in order; values are not read, so keys of values that cannot be read come too."""
        return Listing(self._portal, self._inner.keys(limit=limit, cursor=cursor))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[tuple[str, V]]:
        """Every key with its value, in the order of the keys: `dict(store.list())` has all of them in memory."""
        return Listing(self._portal, self._inner.list(limit=limit, cursor=cursor))

    def clear(self) -> int:
        """Remove every value of the namespace; return how many. Not atomic, safe to repeat."""
        return self._call(self._inner.clear)


class AgentState(Face[AsyncAgentState[T]], Generic[T]):
    """One state of type `kind`, at `key` in a namespace of its own kind. Making the object does no I/O.

        with agent.state as state:
            state.count += 1

    In the block the state is held by a lease: one owner at a time, across threads and processes. It is saved at the end
    in one batch with the release of the lease: only if it changed, and not after an exception. What a caller does with
    the object afterwards changes nothing. At most three driver calls if nobody else wants the state, two if the
    same object used it last.

    Entering raises `LeaseTimeoutError` if someone else holds it for too long, `NestedLeaseError` in a thread that holds
    it already, `CorruptDataError` for a state that is not a valid `kind`. Leaving raises `LeaseLostError` if the
    process was stopped for longer than the lease lasts and someone else took over, and `InvalidValueError` for a state
    that would not come back; in both cases nothing is saved.
    """

    @property
    def namespace(self) -> str:
        """The namespace that it lies in."""
        return self._inner.namespace

    @property
    def key(self) -> str:
        """Its key there."""
        return self._inner.key

    @cached_property
    def history(self) -> StateHistory[T]:
        """Its last revisions."""
        return StateHistory(self._portal, self._inner.history)

    def __enter__(self) -> T:
        return self._take(
            lambda _: self._inner.__aexit__(InterruptedError, InterruptedError(), None), self._inner.__aenter__
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._inner.__aexit__, kind, error, trace)

    def with_state(self, change: Callable[[T], R]) -> R:
        """Call a function with the state as in `with`; return what it returns."""
        with self as state:
            return change(state)

    def get_state(self) -> T:
        """A copy of what was saved last, or of the first state; no waiting. One driver call."""
        return self._call(self._inner.get_state)

    def clear_state(self, *, history: bool = False) -> bool:
        """Remove the state, waiting for its owner; return whether there was one. With `history` its revisions go, too."""
        return self._call(self._inner.clear_state, history=history)


class StateHistory(Face[AsyncStateHistory[T]], Generic[T]):
    """What a state was: its last revisions, kept where the state was made with `history=`."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[Revision[T]]:
        """Every revision that is kept, newest first. A page is two driver calls."""
        return Listing(self._portal, self._inner.list(limit=limit, cursor=cursor))

    def get(self, number: int) -> Revision[T] | None:
        """One revision, `None` where it is not kept."""
        return self._call(self._inner.get, number)

    def restore(self, number: int) -> T:
        """Make the state what it was, as a new revision, waiting for its owner; return it. Raises `NotFoundError`."""
        return self._call(self._inner.restore, number)
