"""The state of an agent: one object that only one task at a time can change, across processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar, overload

from pydantic import ValidationError

from ..._arguments import checked_arguments
from ..._errors import ConfigurationError, InvalidValueError, NotFoundError, explain
from ..._secrets import raise_alone
from ...driver import Delete, Driver, If, Item, Key, Put, Write, key, name, new_etag
from ...structures import Lease, LeaseHandle, Listing, Migrations, Numbers
from ._history import Revision, Revisions, saved_at
from ._key_value import KeyValueStore

__all__ = ["AgentState", "StateHistory", "lease_of"]

T = TypeVar("T")
R = TypeVar("R")

_MOST = 256
"""Maximum number of revisions: that many can be removed in one batch."""


class _States(KeyValueStore[T]):
    """Where states are: apart from the records, so that neither listing nor clearing a namespace affects them."""

    _ROOT: ClassVar[Key] = name("state")


def lease_of(driver: Driver, at: Key) -> Lease:
    """Return the lease that protects the state at `at`."""
    return Lease(driver, key(name("lease"), at))


@checked_arguments
class AgentState(Generic[T]):
    """One state of type `kind`, at `key` in a namespace for states. Creating the object does no I/O.

        async with agent.state as state:
            state.count += 1

    A lease holds the state during the block: one owner at a time, across tasks and processes. At the end, one batch
    saves the state and releases the lease. It is only saved if it changed, and not after an exception. Changing the
    object afterwards has no effect. At most three driver calls if nobody else wants the state, two if the same object
    used it last.

    Entering raises `LeaseTimeoutError` if someone else holds it for too long, `NestedLeaseError` in a task that already
    holds it, `CorruptDataError` if the state is not a valid `kind`. Leaving raises `LeaseLostError` if the process was
    stopped for longer than the lease lasts and someone else took over, and `InvalidValueError` for a state that would
    come back changed; in both cases nothing is saved.
    """

    def __init__(
        self,
        driver: Driver,
        kind: type[T],
        namespace: str,
        *,
        key: str = "state",
        factory: Callable[[], T] | None = None,
        migrations: Migrations | None = None,
        history: int = 0,
        lease: float = 15.0,
        timeout: float | None = 30.0,
    ) -> None:
        """`factory` creates the initial state (default: `kind()`); nothing is stored until it changes.

        `history` is how many revisions are kept, including the newest. `lease` is how many seconds after its owner's
        death the state becomes available again; while the owner is alive, the lease is renewed. `timeout` is how many
        seconds to wait for another owner (`None`: no limit).
        """
        if not 0 <= history <= _MOST:
            raise ConfigurationError(f"history is {history}: keep 0 to {_MOST} revisions")
        if factory is not None and not callable(factory):
            raise ConfigurationError(
                f"factory is a {type(factory).__name__}: pass a function that returns the initial state, such as lambda: State(...)"
            )
        self.namespace = namespace
        self.key = key
        self.history: StateHistory[T] = StateHistory(self, driver)
        self._driver = driver
        self._records: KeyValueStore[T] = _States(driver, kind, namespace, migrations=migrations)
        self._at = self._records.at(key)
        self._revisions = Revisions(self._at)
        self._lease = lease_of(driver, self._at)
        self._kind = kind
        self._factory = factory
        self._keep = history
        self._lease_ttl = lease
        self._timeout = timeout
        self._entered: AbstractAsyncContextManager[T] | None = None

    async def __aenter__(self) -> T:
        block = self._block()
        state = await block.__aenter__()
        self._entered = block  # one owner at a time: this is its own
        return state

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        block, self._entered = self._entered, None
        if block is not None:
            await block.__aexit__(kind, error, trace)

    @overload
    async def with_state(self, change: Callable[[T], Awaitable[R]]) -> R: ...
    @overload
    async def with_state(self, change: Callable[[T], R]) -> R: ...
    async def with_state(self, change: Callable[[T], Any]) -> Any:
        """Call a function, plain or `async`, with the state as in `async with`; return what it returns."""
        if not callable(change):
            raise InvalidValueError(
                "with_state() takes a function of the state: to hold the state for longer, use 'async with'"
            )
        async with self as state:
            result = change(state)
            return await result if isinstance(result, Awaitable) else result

    async def get_state(self) -> T:
        """Return a copy of what was last saved, or of the initial state, without waiting. One driver call."""
        (item,) = await self._driver.get([self._at])
        return self._load(item)

    async def exists(self) -> bool:
        """Return whether a state is stored, without waiting for its owner. One driver call."""
        (item,) = await self._driver.get([self._at], values=False)
        return item is not None

    async def clear_state(self, *, history: bool = False) -> bool:
        """Delete the state, after waiting for its owner; return whether there was one. Revisions are deleted too."""
        async with self._hold(history=history) as handle:
            item = handle.reads[self._at]
            writes: list[Write] = [] if item is None else [Delete(self._at, item.etag)]
            if history:
                writes += self._revisions.plan_drop(handle.reads[self._revisions.base])
            handle.saves = [*writes, self._lease.fading_fence(handle)]
        return item is not None

    # Implementation.

    def _hold(self, *, history: bool = False) -> AbstractAsyncContextManager[LeaseHandle]:
        reading = [self._at, self._revisions.base] if self._keep or history else [self._at]
        return self._lease.hold(ttl=self._lease_ttl, timeout=self._timeout, reading=reading)

    @asynccontextmanager
    async def _block(self) -> AsyncIterator[T]:
        async with self._hold() as handle:
            state = self._load(handle.reads[self._at])
            before = self._records.encode(self.key, state)
            yield state
            after = self._records.encode(self.key, state)
            if after != before:
                handle.saves = self._save(handle, after)

    def _save(self, handle: LeaseHandle, stored: str) -> Sequence[Write]:
        item = handle.reads[self._at]
        writes: list[Write] = [Put(self._at, stored, If.ABSENT if item is None else item.etag)]
        if self._keep:
            writes += self._revisions.plan_add(handle.reads[self._revisions.base], stored, self._keep)
        return writes

    def _load(self, item: Item | None) -> T:
        if item is None:  # a copy of the initial one too: a factory may return the same object every time
            item = Item(self._at, self._records.encode(self.key, self._first()), new_etag(), 0)
        return self._records.decode(item, self.key)

    def _first(self) -> T:
        if self._factory is not None:
            return self._factory()
        try:
            return self._kind()
        except (ValidationError, TypeError) as error:
            why = explain(error) if isinstance(error, ValidationError) else str(error)
            raise_alone(
                ConfigurationError(
                    f"there is no state yet, and {self._kind!r} cannot create the initial one ({why}): pass a factory= "
                    "(state_factory= of a StatefulAgent)"
                )
            )


@checked_arguments
class StateHistory(Generic[T]):
    """The earlier revisions of a state, kept if the state was created with `history=`."""

    def __init__(self, state: AgentState[T], driver: Driver) -> None:
        self._state = state
        self._driver = driver

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[Revision[T]]:
        """List all revisions that are kept, newest first. A page is two driver calls."""

        async def fetch(position: str | None, count: int) -> tuple[Sequence[Revision[T]], str | None]:
            before = None if position is None else int(position)
            found, more = await self._state._revisions.read(self._driver, before=before, limit=count)
            return [self._revision(number, item) for number, item in found], str(found[-1][0]) if more else None

        return Listing([self._state._revisions.base, "history"], fetch, limit=limit, cursor=cursor, positions=Numbers())

    async def get(self, number: int) -> Revision[T] | None:
        """Return one revision; `None` if it is not kept."""
        (item,) = await self._driver.get([self._state._revisions.key(number)])
        return None if item is None else self._revision(number, item)

    async def restore(self, number: int) -> T:
        """Make the state what it was, as a new revision, after waiting for its owner; return it.

        Raises `NotFoundError`.
        """
        state = self._state
        async with state._hold() as handle:
            revision = await self.get(number)
            if revision is None:
                raise NotFoundError(
                    f"revision {number} of the state {state.namespace!r} does not exist or is no longer kept: see history.list()"
                )
            handle.saves = state._save(handle, state._records.encode(state.key, revision.state))
        return revision.state

    def _revision(self, number: int, item: Item) -> Revision[T]:
        stored = replace(item, key=self._state._at)
        return Revision(number, saved_at(item), self._state._records.decode(stored, self._state.key))
