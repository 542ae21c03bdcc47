"""Wrong about a client that belongs to the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from limpet import ConfigurationError
from limpet.driver import Item, Key
from limpet.driver.kit import Record
from limpet_conformance import Borrowed, Section
from limpet_conformance.sections.clients import Clients
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


class ToyClient:
    """What an application holds: it can be closed, and it may decode what it reads."""

    def __init__(self, *, decode: bool = False) -> None:
        self.decode = decode
        self.closed = False

    async def ping(self) -> None:
        if self.closed:
            raise OSError("the client is closed")


class OnAClient(SharedMemoryDriver):
    """Right: uses the client, never closes it, and refuses one that decodes."""

    def __init__(self, name: str, client: ToyClient | None = None) -> None:
        super().__init__(name)
        self.client = client

    def check(self, client: ToyClient) -> None:
        if client.decode:
            raise ConfigurationError("the client has decode set, so bytes come back as text: make it without")

    async def _open(self) -> None:
        if self.client is not None:
            self.check(self.client)

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        if self.client is not None and self.client.closed:
            raise OSError("the client is closed")
        if item is not None and self.client is not None and self.client.decode and isinstance(item.value, bytes):
            return replace(item, value=item.value.decode(errors="replace"))
        return item


@asynccontextmanager
async def lend(kind: type[OnAClient], suite: Section, url: str) -> AsyncIterator[Borrowed]:
    """What an author writes: a client, and drivers on it."""
    name = url.partition("://")[2]
    client = ToyClient()
    decoding = {"decode": lambda: kind(name, ToyClient(decode=True))}
    yield Borrowed(lambda: kind(name, client), client.ping, decoding)


def _lending(kind: type[OnAClient]) -> dict[str, Any]:
    return {"borrowing": lambda self, url: lend(kind, self, url)}


class _Registered(OnAClient):
    """A wrong driver that brings its own `borrowing`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        caught_by(Clients, **_lending(cls))(cls)


class ClosesTheClient(_Registered):
    """Closing the driver closes the application's client."""

    async def _close(self) -> None:
        await super()._close()
        if self.client is not None:
            self.client.closed = True


class IgnoresASetting(_Registered):
    """Takes a client that decodes, and gives text for bytes."""

    def check(self, client: ToyClient) -> None:
        pass


class RefusesWithoutAName(_Registered):
    """Refuses a client without saying which setting is in the way."""

    def check(self, client: ToyClient) -> None:
        if client.decode:
            raise ConfigurationError("the client cannot be used")


class FreesWhatOthersUse(_Registered):
    """What all drivers on a client share ends with the first of them that is closed."""

    async def _close(self) -> None:
        await super()._close()
        self.place.records.clear()


class DecodesOnItsOwn(_Registered):
    """Switches decoding on in the application's client, to read text more easily."""

    async def _open(self) -> None:
        await super()._open()
        if self.client is not None:
            self.client.decode = True
