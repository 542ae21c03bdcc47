"""Shared by server drivers: creating and closing the client, reconnecting watches, and freeing expired items."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Generic, Protocol, TypeVar

from .._capabilities import Capabilities
from .._types import Key
from ._base import BaseDriver
from ._notifications import Subscription, notifications
from ._sentences import understood

__all__ = ["ServerClient", "ServerDriver"]

_FREE_SECONDS = 1.0


class ServerClient(Protocol):
    """What a `ServerDriver` requires of its client."""

    closed: bool

    async def close(self) -> None:
        """Set `closed`, end the subscriptions, and close our own connections.

        An application's own client stays open.
        """


C = TypeVar("C", bound=ServerClient)


class ServerDriver(BaseDriver, Generic[C]):
    """A `BaseDriver` whose backend is a server: implement `_connect` and `_prepare` instead of `_open` and `_close`.

    With `capabilities.watch`, implement `_listening` instead of `_watch`.
    """

    capabilities: Capabilities

    def __init__(self) -> None:
        super().__init__()
        self._client: C | None = None
        self._free_next = 0.0

    @abstractmethod
    def _connect(self) -> C:
        """Create the client, without any I/O."""

    @abstractmethod
    async def _prepare(self, client: C) -> Capabilities:
        """Connect, create what is missing, and return what was found. If this fails, the client is closed."""

    def _place(self) -> str:
        """Return which server it is, for messages, without the password."""
        return type(self).__name__

    def _listening(self, subscription: Subscription) -> AbstractAsyncContextManager[None]:
        """Connect, and push every notification to the subscription during the block."""
        raise NotImplementedError(f"{type(self).__name__} declares 'watch' but has no _listening()")

    @property
    def _opened(self) -> C:
        if self._client is None:
            self._check()
        assert self._client is not None
        return self._client

    async def _open(self) -> None:
        client = self._connect()
        try:
            with understood(self._place(), self.client_errors):
                self.capabilities = await self._prepare(client)
        except BaseException:
            await client.close()
            raise
        self._client = client

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
        client = self._opened
        return notifications(
            self._listening,
            base,
            errors=self.client_errors,
            translate=self._translate,
            closed=lambda: client.closed,
        )

    def _may_free(self) -> bool:
        """Return whether a write should free a few expired items: about once a second."""
        now = monotonic()
        if now < self._free_next:
            return False
        self._free_next = now + _FREE_SECONDS
        return True
