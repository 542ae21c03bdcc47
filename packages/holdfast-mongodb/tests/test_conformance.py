"""The driver on MongoDB passes the conformance suite: with batches, alone, and on the application's clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from holdfast_conformance import Borrowed, DriverConformance
from holdfast_conformance.servers import running
from holdfast_drivers.mongodb import MongodbDriver
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient


@asynccontextmanager
async def empty_collection(kind: str) -> AsyncIterator[str]:
    """The URL of a collection that does not exist yet, and that is dropped afterwards."""
    url = running(kind).url
    collection = f"s{uuid4().hex}"
    yield f"{url}{'&' if '?' in url else '?'}collection={collection}"
    async with AsyncMongoClient[dict[str, Any]](url.replace("transactions=true", "")) as client:
        await client.get_default_database().drop_collection(collection)


def lent(url: str, client: Any, ping: Any) -> Borrowed:
    """A driver on the application's client, on the place that a URL names."""
    options = MongodbDriver.from_url(url)._options
    return Borrowed(
        make=lambda: MongodbDriver(
            client=client,
            database=options.database_name,
            collection=options.collection,
            transactions=options.transactions,
        ),
        still_works=ping,
    )


class TestMongodbDriver(DriverConformance):
    capabilities = MongodbDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        self.note("origin", running("mongodb").origin)
        async with empty_collection("mongodb") as url:
            yield url

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        async with AsyncMongoClient[dict[str, Any]](MongodbDriver.from_url(url)._options.url, tz_aware=True) as client:
            yield lent(url, client, lambda: client.admin.command("ping"))


class TestMongodbDriverStandalone(DriverConformance):
    capabilities = replace(MongodbDriver.capabilities, atomic="item", append=False, watch=False)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        self.note("origin", running("mongodb-standalone").origin)
        async with empty_collection("mongodb-standalone") as url:
            yield url

    @asynccontextmanager
    async def borrowing(self, url: str) -> AsyncIterator[Borrowed]:
        client: Any = AsyncIOMotorClient(MongodbDriver.from_url(url)._options.url, tz_aware=True)
        yield lent(url, client, lambda: client.admin.command("ping"))
        client.close()
