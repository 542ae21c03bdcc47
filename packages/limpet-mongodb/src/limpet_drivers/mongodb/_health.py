"""What the driver checks and creates on a server when it opens, and the server's health."""

from __future__ import annotations

from typing import Any

from bson import DatetimeMS
from limpet import ConfigurationError
from limpet.driver import Health
from pymongo import errors
from pymongo.read_concern import ReadConcern

from ._client import Client, Place, done
from ._errors import ADVICE
from ._layout import EXPIRY, misfit, removes_expired

__all__ = ["ask_for_now", "examine", "is_replicated", "prepare"]


def is_replicated(hello: dict[str, Any]) -> bool:
    """Return whether the server is a member of a replica set, or the router of a sharded cluster."""
    return "setName" in hello or hello.get("msg") == "isdbgrid"


async def ask_for_now(client: Client) -> None:
    """Find out whether reads can return the time."""

    async def ask(at: Place) -> bool:
        database = at.database.with_options(read_concern=ReadConcern("local"))
        found = await done(database.aggregate([{"$documents": [{"now": "$$NOW"}]}]))
        said = await found.to_list(None)
        return len(said) == 1 and isinstance(said[0].get("now"), DatetimeMS)

    try:
        client.tells_time = await client.call(ask)
    except errors.OperationFailure:  # MongoDB before 5.1, and others
        client.tells_time = False


async def prepare(client: Client) -> None:
    """Create the collection and its index if they are missing. Raises `ConfigurationError` for unsuitable ones."""
    options = client.options

    async def make(at: Place) -> None:
        found = await done(at.database.list_collections(filter={"name": options.collection}))
        for known in await found.to_list(None):
            if (wrong := misfit(known)) is not None:
                raise ConfigurationError(f"{options.place} cannot be used: {wrong}; choose another collection")
            if any(map(removes_expired, (await at.items.index_information()).values())):
                return
        await at.items.create_index("expiresAt", name=EXPIRY, expireAfterSeconds=0, sparse=True)

    await client.call(make)


async def examine(client: Client, *, batches: bool) -> Health:
    """Read the facts, and what an operator should know."""
    hello, build = await client.command({"hello": 1}), await client.command({"buildInfo": 1})
    problems = []
    if not batches:
        problems.append(f"only single items are atomic here, not batches: {ADVICE}")
    if not hello.get("isWritablePrimary"):
        problems.append("this server is not the primary and cannot be written to: connect to the replica set")
    if client.options.durability != "disk":
        problems.append("an acknowledged write may be lost with the servers' power: open with durability='disk'")
    try:
        engine = (await client.command({"serverStatus": 1})).get("storageEngine", {})
        if engine.get("persistent") is False:
            problems.append(f"the storage engine {engine.get('name')} does not store data on disk: use wiredTiger")
    except errors.OperationFailure:  # this requires a right that few applications have
        engine = {}
    stands = hello.get("setName") or ("sharded cluster" if hello.get("msg") == "isdbgrid" else "standalone")
    details = {
        "collection": f"{client.options.database_name}.{client.options.collection}",
        "topology": str(stands),
        "engine": str(engine.get("name", "unknown")),
    }
    product = "FerretDB" if "ferretdb" in build or "ferretdbVersion" in build else build.get("process", "MongoDB")
    return Health(str(product), str(build["version"]), int(hello["localTime"]), tuple(problems), details)
