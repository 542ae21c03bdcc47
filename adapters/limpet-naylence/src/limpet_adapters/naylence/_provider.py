"""The storage provider, what makes it from a configuration, and the profile `limpet`."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from limpet import Persistence, open_persistence, open_persistence_from_env
from limpet.stores import KeyValueStore
from pydantic import BaseModel, ValidationError

from naylence.fame.profile import RegisterProfileOptions
from naylence.fame.profile import register_profile as register
from naylence.fame.storage.storage_provider_factory import StorageProviderConfig, StorageProviderFactory

__all__ = ["LimpetStorageProvider", "LimpetStorageProviderFactory", "register_profile"]

V = TypeVar("V", bound=BaseModel)


class LimpetStorageProvider:
    """Naylence's `StorageProvider` on a database: each namespace is a key-value store of it."""

    def __init__(self, persistence: Persistence) -> None:
        """Usable from any event loop if `persistence` was made by `open_persistence`. It is never closed here."""
        self.persistence = persistence

    async def get_kv_store(self, model_cls: type[V], namespace: str) -> LimpetKeyValueStore[V]:
        """The records of a namespace, as models of one class."""
        return LimpetKeyValueStore(model_cls, self.persistence.kv(dict[str, Any], namespace))


class LimpetKeyValueStore(Generic[V]):
    """Naylence's `KeyValueStore`: a model is stored as the JSON that it dumps, and read as its class."""

    def __init__(self, model_cls: type[V], records: KeyValueStore[dict[str, Any]]) -> None:
        self._model_cls = model_cls
        self.records = records
        """The store behind it, which can do more: `update(key, function)`, etags, expiry."""

    async def set(self, key: str, value: V) -> None:
        """Store a value, new or not."""
        await self.records.set(key, self._dump(value))

    async def update(self, key: str, value: V) -> None:
        """Replace a value. Raises `NotFoundError`, which is a `KeyError`, if there is none."""
        await self.records.replace(key, self._dump(value))

    async def get(self, key: str) -> V | None:
        """Return the value, or `None`."""
        stored = await self.records.get(key)
        return None if stored is None else self._model_cls.model_validate(stored)

    async def delete(self, key: str) -> None:
        """Remove a value, if there is one."""
        await self.records.delete(key)

    async def list(self) -> dict[str, V]:
        """Return every value by its key."""
        return {key: self._model_cls.model_validate(stored) for key, stored in await self.records.list()}

    def _dump(self, value: V) -> dict[str, Any]:
        """As Naylence dumps it, but with every `None` that the class accepts when it is read."""
        stored = value.model_dump(mode="json", by_alias=True)
        try:
            self._model_cls.model_validate(stored)
        except ValidationError:
            stored = value.model_dump(mode="json", by_alias=True, exclude_none=True)
        return stored


class LimpetStorageProviderConfig(StorageProviderConfig):  # type: ignore[misc]
    """`url` is where the data lie; without one, `LIMPET_URL` and its variables say so, or else the default place is used."""

    type: str = "LimpetStorageProvider"
    url: str | None = None


class LimpetStorageProviderFactory(StorageProviderFactory[LimpetStorageProviderConfig]):  # type: ignore[misc]
    """What Naylence calls to make the provider: `{"type": "LimpetStorageProvider", "url": "sqlite:///agents.db"}`."""

    async def create(
        self, config: LimpetStorageProviderConfig | dict[str, Any] | None = None, **kwargs: Any
    ) -> LimpetStorageProvider:
        """Make the provider. The database is opened by the first call, and closed when the interpreter exits."""
        made = LimpetStorageProviderConfig.model_validate(config or {}) if not isinstance(config, BaseModel) else config
        url = made.url
        return LimpetStorageProvider(open_persistence(url) if url else open_persistence_from_env())


def register_profile() -> None:
    """Register the storage profile `limpet`."""
    register(
        "StorageProviderFactory",
        "limpet",
        {"type": "LimpetStorageProvider"},
        RegisterProfileOptions(source="limpet-naylence"),
    )
