"""Shared by the drivers of SQL servers: reads and transactions on a borrowed connection, and recognizing lost races."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from itertools import count
from typing import Any, Protocol, TypeAlias, TypeVar

from ..._errors import LimpetError
from ..._secrets import without_frames
from .._types import Item, Key, Outcome, Page, Range, Unit
from ._defaults import backoff
from ._retry import SerializationFailure, on_connection, retry_transaction
from ._server import ServerClient, ServerDriver

__all__ = ["SqlClient", "SqlCommands", "SqlDriver"]

_FREED = 100
"""Maximum expired items that a write removes, about once a second."""

T = TypeVar("T")


class SqlClient(ServerClient, Protocol):
    """What an `SqlDriver` requires of its client, besides what a `ServerDriver` requires."""

    def connection(self) -> AbstractAsyncContextManager[Any]:
        """Lend a connection for a block."""


class SqlCommands(Protocol):
    """The statements that both verbs and upkeep need, each one or a few round trips on the connection."""

    async def fetch(self, connection: Any, keys: Sequence[Key], values: bool) -> list[Item | None]:
        """Return the live items at these keys, in order, as seen by one statement."""

    async def list_page(self, connection: Any, range: Range) -> Page:
        """Return the page for `scan`."""

    async def clear(self, connection: Any, base: Key) -> tuple[int, bool]:
        """Remove some of what is below `base`. Return how many live items that were, and whether there may be more."""

    async def free(self, connection: Any, limit: int = ...) -> tuple[int, bool]:
        """Remove up to `limit` expired items that nobody uses. Return how many, and whether there may be more."""


C = TypeVar("C", bound=SqlClient)
Commit: TypeAlias = Callable[[], Awaitable[None]]


class SqlDriver(ServerDriver[C]):
    """A `ServerDriver` whose backend has transactions: implement the abstract methods below.

    `_translate` takes `sent=`, which is true if a write or a commit may have happened despite the error.
    """

    _commands: SqlCommands
    """Set in the constructor, or by `_prepare`."""
    _timeout: float
    """How many seconds a write that loses races is retried. Set in the constructor."""

    @abstractmethod
    async def _at_once(self, connection: Any, units: Sequence[Unit]) -> Sequence[Outcome] | None:
        """Commit the units with one statement that is its own transaction; return `None` if they need several."""

    @abstractmethod
    async def _begin(self, connection: Any, units: Sequence[Unit]) -> tuple[Sequence[Outcome], Commit | None]:
        """Begin a transaction, lock and evaluate. Return the outcomes, and how to commit (`None`: nothing was written).

        Raise `SerializationFailure` to be called once more.
        """

    @abstractmethod
    async def _roll_back(self, connection: Any) -> None:
        """Undo what was begun, if the connection still exists."""

    @abstractmethod
    def _is_race(self, error: Exception) -> bool:
        """Return whether the transaction failed because of others, so that it is retried."""

    @abstractmethod
    def _is_over(self, connection: Any) -> bool:
        """Return whether the server has ended this connection."""

    @abstractmethod
    def _translate(self, error: Exception, *, sent: bool = False) -> LimpetError:
        """Return Limpet's error for an error of the client."""

    async def _on_connection(self, act: Callable[[Any], Awaitable[T]]) -> T:
        return await on_connection(self._opened.connection, act, ended=self._is_over, errors=self.client_errors)

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        return await self._on_connection(lambda connection: self._commands.fetch(connection, keys, values))

    async def _list(self, range: Range) -> Page:
        return await self._on_connection(lambda connection: self._commands.list_page(connection, range))

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        async def write(connection: Any) -> list[Outcome]:
            outcomes = await retry_transaction(
                lambda part: self._transact(connection, part), units, place=self._place(), seconds=self._timeout
            )
            if self._may_free():
                with suppress(*self.client_errors):  # what was written stays written
                    await self._commands.free(connection, _FREED)
            return outcomes

        return await self._on_connection(write)

    async def _transact(self, connection: Any, units: Sequence[Unit]) -> Sequence[Outcome]:
        sent = True
        try:
            outcomes = await self._at_once(connection, units)
            if outcomes is None:
                sent = False
                outcomes, commit = await self._begin(connection, units)
                if commit is not None:
                    sent = True
                    await commit()
        except SerializationFailure:
            await self._roll_back(connection)
            raise
        except LimpetError:
            raise
        except self.client_errors as error:
            if self._is_race(error):
                await self._roll_back(connection)
                raise SerializationFailure from without_frames(error)
            raise self._translate(error, sent=sent) from without_frames(error)
        return outcomes

    async def _clear(self, base: Key) -> tuple[int, bool]:
        return await self._removing(lambda connection: self._commands.clear(connection, base))

    async def _purge(self) -> tuple[int, bool]:
        return await self._removing(self._commands.free)

    async def _removing(self, act: Callable[[Any], Awaitable[T]]) -> T:
        """Run again after a deadlock, which undid what had been removed."""
        async with self._opened.connection() as connection:
            for attempt in count(1):
                try:
                    return await act(connection)
                except self.client_errors as error:
                    if not self._is_race(error):
                        raise
                    await self._roll_back(connection)
                await backoff(attempt)
        raise AssertionError("unreachable: the loop ends by an answer or an error")
