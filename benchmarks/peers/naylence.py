"""Naylence's SQLiteStorageProvider, and its agent state on it. As shipped it uses WAL and `synchronous=NORMAL`."""

from __future__ import annotations

from pathlib import Path

from naylence.agent import BaseAgent, BaseAgentState
from naylence.fame.security.credential.static_credential_provider import StaticCredentialProvider
from naylence.fame.storage.sqlite_storage_provider import SQLiteStorageProvider
from pydantic import BaseModel

__all__ = ["Naylence"]


class _Counter(BaseAgentState):  # type: ignore[misc]
    count: int = 0


class _Agent(BaseAgent[_Counter]):  # type: ignore[misc]
    """An agent without a node: the provider is given, where a node would have one."""

    def __init__(self, provider: SQLiteStorageProvider) -> None:
        super().__init__("counter")
        self._provider = provider

    @property
    def storage_provider(self) -> SQLiteStorageProvider:
        return self._provider


class Naylence:
    """One store of one model, and one agent. `cached` is what its own profiles turn on; it has an effect if encrypted."""

    def __init__(self, folder: Path, *, key: str | None = None, cached: bool = False) -> None:
        self._provider = SQLiteStorageProvider(
            str(folder),
            is_encrypted=key is not None,
            master_key_provider=None if key is None else StaticCredentialProvider(key),
            is_cached=cached,
        )
        self._agent = _Agent(self._provider)

    async def open(self, model: type[BaseModel]) -> None:
        self._store = await self._provider.get_kv_store(model, "users")

    async def set(self, key: str, value: BaseModel) -> None:
        await self._store.set(key, value)

    async def get(self, key: str) -> BaseModel | None:
        found: BaseModel | None = await self._store.get(key)
        return found

    async def increment(self) -> int:
        async with self._agent.state as state:
            state.count += 1
            return int(state.count)
