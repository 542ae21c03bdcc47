"""What a server says of itself."""

from __future__ import annotations

from typing import Any

from holdfast.driver import Health
from pymongo import errors

from ._client import Client
from ._errors import ADVICE

__all__ = ["examine", "is_replicated"]


def is_replicated(hello: dict[str, Any]) -> bool:
    """Whether it says that it is a member of a replica set, or stands before a sharded cluster."""
    return "setName" in hello or hello.get("msg") == "isdbgrid"


async def examine(client: Client, *, batches: bool) -> Health:
    """Ask for the facts, and for what an operator should know."""
    hello, build = await client.command({"hello": 1}), await client.command({"buildInfo": 1})
    problems = []
    if not batches:
        problems.append(f"one item at a time is atomic here, and no batch: {ADVICE}")
    if not hello.get("isWritablePrimary"):
        problems.append("this server is not the primary and cannot be written: connect to the replica set")
    if client.options.durability != "disk":
        problems.append("an acknowledged write may be lost with the servers' power: open with durability='disk'")
    try:
        engine = (await client.command({"serverStatus": 1})).get("storageEngine", {})
        if engine.get("persistent") is False:
            problems.append(f"the storage engine {engine.get('name')} keeps nothing on a disk: use wiredTiger")
    except errors.OperationFailure:  # it takes a right that few applications have
        engine = {}
    stands = hello.get("setName") or ("sharded cluster" if hello.get("msg") == "isdbgrid" else "standalone")
    details = {
        "collection": f"{client.options.database_name}.{client.options.collection}",
        "topology": str(stands),
        "engine": str(engine.get("name", "unknown")),
    }
    product = "FerretDB" if "ferretdb" in build or "ferretdbVersion" in build else build.get("process", "MongoDB")
    return Health(str(product), str(build["version"]), int(hello["localTime"]), tuple(problems), details)
