"""An agent whose state is right across objects and processes."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from limpet import ConfigurationError, Persistence
from limpet.state import StatefulAgent

from naylence.agent import BaseAgent

from ._provider import LimpetStorageProvider

__all__ = ["LimpetAgent"]

T = TypeVar("T")


class LimpetAgent(StatefulAgent[T], BaseAgent[Any], Generic[T]):  # type: ignore[misc]
    """Naylence's `BaseAgent` with the state of `StatefulAgent`: blocks of all processes take turns, and lose no change.

        class Counter(LimpetAgent[CounterState]):
            @operation
            async def increment(self) -> int:
                async with self.state as state: ...

    The state lies in the node's storage, if that is a `LimpetStorageProvider`, unless the constructor is given a `persistence=`.
    """

    _persistence: Persistence | None = None

    @property
    def persistence(self) -> Persistence | None:
        """Where the state lies. Raises `ConfigurationError` where the node's storage is another one."""
        if self._persistence is None:
            provider = self.storage_provider
            if not isinstance(provider, LimpetStorageProvider):
                raise ConfigurationError(
                    f"the node's storage is a {type(provider).__name__}: set FAME_STORAGE_PROFILE=limpet, or pass persistence="
                )
            self._persistence = provider.persistence
        return self._persistence

    @persistence.setter
    def persistence(self, persistence: Persistence | None) -> None:
        self._persistence = persistence
