"""The driver on MongoDB passes the conformance suite: with batches, alone, and on the application's clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from limpet.driver import Driver
from limpet_conformance import Borrowed, DriverConformance
from limpet_conformance.servers import running
from limpet_drivers.mongodb import MongodbDriver
from limpet_drivers.mongodb._options import Options
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient


@asynccontextmanager
async def empty_collection(kind: str) -> AsyncIterator[str]:
    """The URL of a collection that does not exist yet, and that is dropped afterwards."""
    url = running(kind).url
    collection = f"s{uuid4().hex}"
    yield f"{url}{'&' if '?' in url else '?'}collection={collection}"
    async with AsyncMongoClient[dict[str, Any]](Options.from_url(url).url) as client:
        await client.get_default_database().drop_collection(collection)


def on_client(client: Any, url: str) -> MongodbDriver:
    """A driver on the application's client, for the place that a URL names."""
    options = Options.from_url(url)
    return MongodbDriver(
        client=client,
        database=options.database_name,
        collection=options.collection,
        transactions=options.transactions,
    )


class TestMongodbDriver(DriverConformance):
    kind = "mongodb"
    capabilities = MongodbDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        self.note("origin", running(self.kind).origin)
        async with empty_collection(self.kind) as url:
            yield url

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        target = Options.from_url(url).url
        async with (
            AsyncMongoClient[dict[str, Any]](target) as client,
            AsyncMongoClient[dict[str, Any]](target, tz_aware=True) as aware,
        ):
            yield Borrowed(
                make=lambda: on_client(client, url),
                still_works=lambda: client.admin.command("ping"),
                settings={"tz_aware": lambda: on_client(aware, url)},
            )


class TestMongodbDriverStandalone(DriverConformance):
    kind = "mongodb-standalone"
    capabilities = replace(MongodbDriver.capabilities, atomic="item", append=False, watch=False)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        self.note("origin", running(self.kind).origin)
        async with empty_collection(self.kind) as url:
            yield url


@pytest.mark.exhaustive
@pytest.mark.again
class TestMongodbDriverOnMotor(DriverConformance):
    """Everything on Motor clients of the application."""

    kind = "mongodb"
    capabilities = MongodbDriver.capabilities
    clients: ClassVar[list[Any]] = []

    def driver(self, url: str) -> Driver:
        client: Any = AsyncIOMotorClient(Options.from_url(url).url)
        self.clients.append(client)
        return on_client(client, url)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        self.note("origin", running(self.kind).origin)
        async with empty_collection(self.kind) as url:
            yield url
        while self.clients:
            self.clients.pop().close()

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        client: Any = AsyncIOMotorClient(Options.from_url(url).url)
        yield Borrowed(make=lambda: on_client(client, url), still_works=lambda: client.admin.command("ping"))
        client.close()
