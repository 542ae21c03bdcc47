"""Drivers on py-key-value's stores by URL, for the conformance suite: `disk://FOLDER`, `memory-store://`."""

from __future__ import annotations

from key_value.aio.stores.disk import DiskStore
from key_value.aio.stores.memory import MemoryStore
from limpet import ConfigurationError
from limpet_adapters.key_value import KeyValueDriver


def driver_of(url: str) -> KeyValueDriver:
    scheme, _, place = url.partition("://")
    if "?" in place:
        raise ConfigurationError(f"{url!r} has options, and there are none")
    if scheme == "disk":
        return KeyValueDriver(DiskStore(directory=place), durable="process")
    return KeyValueDriver(MemoryStore())
