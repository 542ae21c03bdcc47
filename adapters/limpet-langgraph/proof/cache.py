"""Puts `LimpetCache` in the place of the Redis cache, and a database of ours in that of its Redis."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from limpet import Persistence, open_persistence, sync
from limpet.driver import Put
from limpet_adapters.langgraph import LimpetCache
from proof.places import place, wrappers


class _Client:
    """What their tests do with a Redis of their own: an empty database, or one that cannot be reached."""

    def __init__(self, *, host: str, port: int, **_options: Any) -> None:
        if host == "localhost":
            self.persistence: Persistence = open_persistence(place(), wrappers=wrappers())
        else:
            self.persistence = open_persistence(f"redis://{host}.invalid:{port}?timeout=1")

    def ping(self) -> None:
        sync.Persistence.of(self.persistence).purge()

    def flushdb(self) -> None:
        sync.Persistence.of(self.persistence).driver.clear("kv.tree")

    def set(self, key: str, value: bytes) -> None:
        sync.Persistence.of(self.persistence).driver.apply([Put(key, value)])


class _Cache(LimpetCache[Any]):
    def __init__(self, client: _Client, *, prefix: str) -> None:
        super().__init__(client.persistence)

    def _make_key(self, namespace: tuple[str, ...], key: str) -> str:
        return self.persistence.kv(str, ("langgraph.cache", *namespace)).at(key)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems() -> None:
    """Their tests look these names up in their module when they run."""
    redis = SimpleNamespace(Redis=_Client, ConnectionError=ConnectionError)
    import_module("tests.test_redis_cache").__dict__.update(redis=redis, RedisCache=_Cache)
