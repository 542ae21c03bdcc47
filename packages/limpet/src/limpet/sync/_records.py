"""Typed values by key, and the states of agents, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import Generic, TypeVar

from ..driver import Etag
from ..state import AgentState as AsyncAgentState
from ..state import Revision
from ..state import StateHistory as AsyncStateHistory
from ..stores import KeyValueEntry, NewEntry
from ..stores import KeyValueStore as AsyncKeyValueStore
from ..stores import KeyValueTree as AsyncKeyValueTree
from ._face import Face
from ._listing import Listing

__all__ = ["AgentState", "KeyValueStore", "KeyValueTree", "StateHistory"]

R = TypeVar("R")
T = TypeVar("T")
V = TypeVar("V")


class KeyValueStore(Face[AsyncKeyValueStore[V]], Generic[V]):
    """The values of one type in one namespace. Creating the object does no I/O. Keep it: it knows the type.

    `kind` is a pydantic model, or any type that pydantic can adapt. Stores on the same namespace share its data, and
    each reads it as its own type. What `get` returns belongs to the caller: changing it does not change what is stored.

    Every method that reads values raises a `CorruptDataError`, which names the value, if it is not a valid `kind`. With
    `migrations`, values are migrated when they are read, and stored in the current version when they are next written.
    """

    def get(self, key: str) -> V | None:
        """Return the value, or `None`. Like all methods that do not say otherwise, this is one driver call."""
        return self._call(self._inner.get, key)

    def get_with_etag(self, key: str) -> tuple[V, Etag] | None:
        """Return the value with its etag, for `set(..., if_match=etag)`."""
        return self._call(self._inner.get_with_etag, key)

    def get_entry(self, key: str) -> KeyValueEntry[V] | None:
        """Return the value with its etag, its times and its time to live, or `None`."""
        return self._call(self._inner.get_entry, key)

    def ttl(self, key: str) -> float | None:
        """Return the seconds until the value expires, or `None` if it never does. The value is not read.

        Raises `NotFoundError`, which is a `KeyError`, if there is no value, or no longer.
        """
        return self._call(self._inner.ttl, key)

    def exists(self, key: str) -> bool:
        """Return whether there is a value, without reading it."""
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
        """Store a value, new or not, and return its etag. An existing value is replaced, including its expiry.

        `ttl` is in seconds (or a timedelta), more than 0. Raises `ConflictError` if `if_match` or `if_absent` does
        not hold, `InvalidValueError` for a value that is not of the store's type or would come back changed.
        """
        return self._call(self._inner.set, key, value, ttl=ttl, if_match=if_match, if_absent=if_absent)

    def replace(
        self, key: str, value: V, *, ttl: float | timedelta | None = None, if_match: Etag | None = None
    ) -> Etag:
        """Replace an existing value, otherwise like `set`. Raises `NotFoundError`, which is a `KeyError`."""
        return self._call(self._inner.replace, key, value, ttl=ttl, if_match=if_match)

    def update(
        self,
        key: str,
        change: V | Callable[[V], V],
        *,
        default: V | Callable[[], V] | None = None,
        once: str | None = None,
    ) -> V:
        """Replace a value with `change(value)`, starting over if someone else writes first; return the new value.

        `change` is a plain function that may run more than once. The expiry is kept. Two driver calls. If the key does
        not exist and there is a `default`, the new value is `change(default)`, which never expires; otherwise, this
        raises `NotFoundError`, which is a `KeyError`. A `default` that is a function is called for its result;
        for a default of `None`, pass `lambda: None`.
        `once` makes it safe to retry after `OutcomeUnknownError`: with the same token, nothing is changed a second
        time. Raises `ConflictError` if the token came with another function; the same token for another key is another
        call. Anything but a function is the new value itself, as in Naylence: the last writer wins.
        """
        return self._call(self._inner.update, key, change, default=default, once=once)

    def touch(self, key: str, *, ttl: float | timedelta | None) -> bool:
        """Let a value expire `ttl` from now, in seconds or as a timedelta (`None`: never). Return whether there is one.

        The value and its times stay the same; the etag is new, because an etag stands for one expiry. Two driver calls:
        the value is read, and written again if nobody else did meanwhile. A value that has expired stays expired.
        """
        return self._call(self._inner.touch, key, ttl=ttl)

    def delete(self, key: str, *, if_match: Etag | None = None) -> bool:
        """Delete a value; return whether there was one. Raises `ConflictError` with `if_match`."""
        return self._call(self._inner.delete, key, if_match=if_match)

    def get_many(self, keys: Iterable[str]) -> dict[str, V | None]:
        """Return the values of several keys, in order; `None` for missing ones."""
        return self._call(self._inner.get_many, keys)

    def get_entries(self, keys: Iterable[str]) -> dict[str, KeyValueEntry[V] | None]:
        """Return several values as `get_entry` does, in the order of the keys; `None` for missing ones."""
        return self._call(self._inner.get_entries, keys)

    def ttl_many(self, keys: Iterable[str]) -> dict[str, float | None]:
        """Return the seconds until several values expire, `None` for those that never do. Missing keys are left out."""
        return self._call(self._inner.ttl_many, keys)

    def set_many(self, values: Mapping[str, V], *, ttl: float | timedelta | None = None) -> dict[str, Etag]:
        """Store several values, all or none, and return their etags.

        Raises `TooLargeError`, and stores nothing, if the driver does not accept that many in one batch: use several
        calls.
        """
        return self._call(self._inner.set_many, values, ttl=ttl)

    def keys(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """Yield every key in order. Values are not read, so this includes the keys of unreadable values."""
        return Listing(self._portal, self._inner.keys(limit=limit, cursor=cursor))

    def entries(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[KeyValueEntry[V]]:
        """List every value as `get_entry` returns it, in key order."""
        return Listing(self._portal, self._inner.entries(limit=limit, cursor=cursor))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[tuple[str, V]]:
        """List every key with its value, in key order. `dict(store.list())` loads all of them into memory."""
        return Listing(self._portal, self._inner.list(limit=limit, cursor=cursor))

    def clear(self) -> int:
        """Delete every value in the namespace; return how many. Not atomic, safe to repeat."""
        return self._call(self._inner.clear)


class KeyValueTree(Face[AsyncKeyValueTree[V]], Generic[V]):
    """The values of one type in all namespaces that are tuples of labels, such as `("users", "u1", "memories")`.

    Creating the object does no I/O. `kv` returns the store of one namespace; the methods here are for several. A
    namespace exists as long as it has values. Labels are text of at least one character, 1 to 30 of them; together with
    a key, they fit in 1,024 bytes (`InvalidKeyError`), where each counts 200 bytes at most.
    """

    def kv(self, namespace: Sequence[str]) -> KeyValueStore[V]:
        """Return the store of one namespace, without I/O."""
        return KeyValueStore(self._portal, self._inner.kv(namespace))

    def get_entries(self, keys: Iterable[tuple[Sequence[str], str]]) -> list[KeyValueEntry[V] | None]:
        """Return an entry or `None` for each pair of a namespace and a key, in order. One driver call."""
        return self._call(self._inner.get_entries, keys)

    def write(self, entries: Iterable[NewEntry[V]] = (), *, delete: Iterable[tuple[Sequence[str], str]] = ()) -> None:
        """Store values, new or not, and delete others, given as pairs of a namespace and a key: all or nothing.

        Existing values keep their creation time, but not their expiry. Deleting what does not exist does nothing. Of
        several entries with one key, the last one counts, and deletions come first. Two driver calls. Raises
        `TooLargeError`, and writes nothing, for more than the driver accepts in one batch.
        """
        self._call(self._inner.write, entries, delete=delete)

    def touch(self, ttls: Mapping[tuple[tuple[str, ...], str], float | timedelta | None]) -> int:
        """Let values, given as pairs of a namespace and a key, expire that many seconds from now (`None`: never).

        Return how many there are. All or nothing; see `KeyValueStore.touch`.
        """
        return self._call(self._inner.touch, ttls)

    def entries(
        self, prefix: Sequence[str] = (), *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[KeyValueEntry[V]]:
        """List the entries of the namespace `prefix` and of all namespaces below it, by namespace and then by key."""
        return Listing(self._portal, self._inner.entries(prefix, limit=limit, cursor=cursor))

    def namespaces(
        self,
        prefix: Sequence[str] = (),
        *,
        suffix: Sequence[str] = (),
        max_depth: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[tuple[str, ...]]:
        """List the namespaces that have values, start with `prefix` and end with `suffix`, in the order of their labels.

        `"*"` in `prefix` or `suffix` stands for any one label. `max_depth` is how many labels of each are returned;
        namespaces that become equal are returned once. Values are not read, and of each namespace at most 16 keys, in one
        driver call for each 16 namespaces or fewer.
        """
        return Listing(
            self._portal, self._inner.namespaces(prefix, suffix=suffix, max_depth=max_depth, limit=limit, cursor=cursor)
        )

    def clear(self, prefix: Sequence[str] = ()) -> int:
        """Delete all values in the namespace `prefix` and below it; return how many. Not atomic, safe to repeat."""
        return self._call(self._inner.clear, prefix)


class AgentState(Face[AsyncAgentState[T]], Generic[T]):
    """One state of type `kind`, at `key` in a namespace for states. Creating the object does no I/O.

        with agent.state as state:
            state.count += 1

    A lease holds the state during the block: one owner at a time, across threads and processes. At the end, one batch
    saves the state and releases the lease. It is only saved if it changed, and not after an exception. Changing the
    object afterwards has no effect. At most three driver calls if nobody else wants the state, two if the same object
    used it last.

    Entering raises `LeaseTimeoutError` if someone else holds it for too long, `NestedLeaseError` in a thread that already
    holds it, `CorruptDataError` if the state is not a valid `kind`. Leaving raises `LeaseLostError` if the process was
    stopped for longer than the lease lasts and someone else took over, and `InvalidValueError` for a state that would
    come back changed; in both cases nothing is saved.
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
        """Return a copy of what was last saved, or of the initial state, without waiting. One driver call."""
        return self._call(self._inner.get_state)

    def exists(self) -> bool:
        """Return whether a state is stored, without waiting for its owner. One driver call."""
        return self._call(self._inner.exists)

    def clear_state(self, *, history: bool = False) -> bool:
        """Delete the state, after waiting for its owner; return whether there was one. Revisions are deleted too."""
        return self._call(self._inner.clear_state, history=history)


class StateHistory(Face[AsyncStateHistory[T]], Generic[T]):
    """The earlier revisions of a state, kept if the state was created with `history=`."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[Revision[T]]:
        """List all revisions that are kept, newest first. A page is two driver calls."""
        return Listing(self._portal, self._inner.list(limit=limit, cursor=cursor))

    def get(self, number: int) -> Revision[T] | None:
        """Return one revision; `None` if it is not kept."""
        return self._call(self._inner.get, number)

    def restore(self, number: int) -> T:
        """Make the state what it was, as a new revision, after waiting for its owner; return it.

        Raises `NotFoundError`.
        """
        return self._call(self._inner.restore, number)
